"""Certificates of the server and of its clients, from files to gRPC credentials. Knows nothing of ports."""

from dataclasses import dataclass
from pathlib import Path

import grpc

from hetero.errors import ConfigurationError


@dataclass(frozen=True, slots=True)
class ServerTls:
    """The server's certificate chain and key, PEM files. With `client_ca`, clients must show a certificate of it."""

    certificate: Path
    key: Path
    client_ca: Path | None = None

    def credentials(self) -> grpc.ServerCredentials:
        """Raises ConfigurationError where a file cannot be read."""
        chain, key = read_pem(self.certificate), read_pem(self.key)
        authority = read_pem(self.client_ca) if self.client_ca else None
        return grpc.ssl_server_credentials([(key, chain)], authority, require_client_auth=authority is not None)


@dataclass(frozen=True, slots=True)
class ClientTls:
    """What a client trusts and shows, PEM files: the server's CA (None: the system's), its own certificate and key."""

    ca: Path | None = None
    certificate: Path | None = None
    key: Path | None = None

    def credentials(self) -> grpc.ChannelCredentials:
        """Raises ConfigurationError where a file cannot be read or a certificate has no key beside it."""
        if (self.certificate is None) != (self.key is None):
            raise ConfigurationError("a client's certificate and key go together; give both or neither")
        parts = (self.ca, self.key, self.certificate)
        return grpc.ssl_channel_credentials(*(read_pem(part) if part else None for part in parts))


def read_pem(path: Path) -> bytes:
    """The file's bytes. Raises ConfigurationError where it cannot be read or is not PEM."""
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise ConfigurationError(f"the file {path} cannot be read: {error.strerror}") from None
    if b"-----BEGIN" not in data:
        raise ConfigurationError(f"the file {path} is not PEM; convert it, for instance with openssl")
    return data
