"""Who may speak to a server: TLS, client certificates, the token. The certificates are made here."""

import datetime
import ipaddress
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from hetero import AuthenticationError, ClientTls, ConfigurationError, Runtime, UnavailableError, connect
from hetero.server.server import Server
from hetero.server.settings import ServerSettings
from hetero.server.tls import ServerTls

Key = ec.EllipticCurvePrivateKey


class Authority:
    """A certificate authority that writes PEM files into a folder."""

    def __init__(self, folder: Path, name: str) -> None:
        self.folder = folder
        self.name = name
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.certificate = self._sign(name, self.key, ca=True)
        self.path = self._write(f"{name}.pem", self.certificate.public_bytes(serialization.Encoding.PEM))

    def issue(self, name: str) -> tuple[Path, Path]:
        """The files of a certificate for localhost and of its key."""
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = self._sign(name, key, ca=False)
        pem, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
        return (
            self._write(f"{self.name}-{name}.pem", certificate.public_bytes(pem)),
            self._write(f"{self.name}-{name}.key", key.private_bytes(pem, form, serialization.NoEncryption())),
        )

    def _sign(self, name: str, key: Key, ca: bool) -> x509.Certificate:
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        issuer = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, self.name)])
        now = datetime.datetime.now(datetime.UTC)
        hosts = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(issuer)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(hours=1))
            .not_valid_after(now + datetime.timedelta(hours=1))
            .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
            .add_extension(x509.SubjectAlternativeName(hosts), critical=False)
            .sign(self.key, hashes.SHA256())
        )

    def _write(self, name: str, data: bytes) -> Path:
        path = self.folder / name
        path.write_bytes(data)
        return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("certificates")


@pytest.fixture(scope="module")
def authority(folder: Path) -> Authority:
    return Authority(folder, "own")


@pytest.fixture(scope="module")
def stranger(folder: Path) -> Authority:
    return Authority(folder, "stranger")


@pytest.fixture(scope="module")
def server_files(authority: Authority) -> tuple[Path, Path]:
    return authority.issue("server")


@contextmanager
def serving(runtime: Runtime, tls: ServerTls | None = None, token: str | None = None) -> Iterator[str]:
    with Server(ServerSettings(port=0, tls=tls, token=token)) as server:
        server.attach(runtime)
        yield f"localhost:{server.port}"


@pytest.fixture(scope="module")
def tls_address(runtime: Runtime, server_files: tuple[Path, Path]) -> Iterator[str]:
    with serving(runtime, ServerTls(*server_files)) as address:
        yield address


@pytest.fixture(scope="module")
def mutual_address(runtime: Runtime, server_files: tuple[Path, Path], authority: Authority) -> Iterator[str]:
    with serving(runtime, ServerTls(*server_files, client_ca=authority.path)) as address:
        yield address


@pytest.fixture(scope="module")
def token_address(runtime: Runtime) -> Iterator[str]:
    with serving(runtime, token="open sesame") as address:
        yield address


def test_client_that_trusts_the_authority_is_served(tls_address: str, authority: Authority) -> None:
    with connect(tls_address, tls=ClientTls(ca=authority.path)) as client:
        assert client.generate("Once", max_tokens=4).completion_tokens == 4


def test_client_that_trusts_another_authority_refuses_the_server(tls_address: str, stranger: Authority) -> None:
    with pytest.raises(UnavailableError, match="no server answers"):
        connect(tls_address, tls=ClientTls(ca=stranger.path))


def test_client_that_trusts_the_systems_authorities_refuses_the_server(tls_address: str) -> None:
    with pytest.raises(UnavailableError):
        connect(tls_address, tls=True)


def test_plain_client_gets_nothing_from_a_tls_server(tls_address: str) -> None:
    with pytest.raises(UnavailableError):
        connect(tls_address)


def test_client_with_a_certificate_is_served(mutual_address: str, authority: Authority) -> None:
    certificate, key = authority.issue("client")
    with connect(mutual_address, tls=ClientTls(authority.path, certificate, key)) as client:
        assert client.generate("Once", max_tokens=4).completion_tokens == 4


def test_client_without_a_certificate_is_turned_away(mutual_address: str, authority: Authority) -> None:
    with pytest.raises(UnavailableError):
        connect(mutual_address, tls=ClientTls(authority.path))


def test_client_with_a_certificate_of_another_authority_is_turned_away(
    mutual_address: str, authority: Authority, stranger: Authority
) -> None:
    certificate, key = stranger.issue("client")
    with pytest.raises(UnavailableError):
        connect(mutual_address, tls=ClientTls(authority.path, certificate, key))


def test_token_opens_every_method(token_address: str) -> None:
    with connect(token_address, token="open sesame") as client:
        assert client.info.kind == "decoder"
        assert client.generate("Once", max_tokens=4).completion_tokens == 4


@pytest.mark.parametrize("token", [None, "open barley", ""])
def test_wrong_token_is_refused_for_streams_and_single_calls(token_address: str, token: str | None) -> None:
    with connect(token_address, token=token) as client:
        for call in (lambda: client.generate("Once"), lambda: client.info, lambda: client.plan):
            with pytest.raises(AuthenticationError, match="credential"):
                call()


def test_health_needs_no_token(token_address: str) -> None:
    with connect(token_address) as client:
        assert client.is_serving()


def test_reflection_needs_the_token(token_address: str) -> None:
    from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

    with grpc.insecure_channel(token_address) as channel, pytest.raises(grpc.RpcError) as caught:
        list(ProtoReflectionDescriptorDatabase(channel).get_services())
    assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED


def test_certificate_file_that_is_absent_or_no_pem_is_named(
    folder: Path, authority: Authority, server_files: tuple[Path, Path]
) -> None:
    (folder / "binary").write_bytes(b"\x30\x82")
    certificate, key = server_files
    for tls, name in [
        (ServerTls(folder / "absent", key), "absent"),
        (ServerTls(certificate, folder / "binary"), "binary"),
        (ServerTls(certificate, key, folder / "nowhere"), "nowhere"),
    ]:
        with pytest.raises(ConfigurationError, match=name):
            Server(ServerSettings(port=0, tls=tls))
    with pytest.raises(ConfigurationError, match="absent"):
        connect("localhost:1", tls=ClientTls(folder / "absent"))


def test_key_of_another_certificate_is_refused(server_files: tuple[Path, Path], authority: Authority) -> None:
    other_key = authority.issue("other")[1]
    with pytest.raises(ConfigurationError, match="belong together"):
        Server(ServerSettings(port=0, tls=ServerTls(server_files[0], other_key)))


def test_client_certificate_without_its_key_is_refused(server_files: tuple[Path, Path]) -> None:
    with pytest.raises(ConfigurationError, match="go together"):
        connect("localhost:1", tls=ClientTls(certificate=server_files[0]))
