"""What a gRPC call presents to show who is asking: the verified certificate of its connection, and its headers.

Knows gRPC's names for these; who they prove is `privacy.identity`'s. Nothing is read from the request's message.
"""

from functools import lru_cache
from typing import Any

import grpc

from privacy.identity.certificates import names_in
from privacy.identity.identifier import Presented

AUTHORIZATION_KEY, API_KEY_KEY = "authorization", "x-api-key"
_BEARER = "bearer "
#: gRPC's name of the client's certificate, there only where the connection asked for one and verified it.
_CERTIFICATE = "x509_pem_cert"

Context = grpc.aio.ServicerContext[Any, Any]


def presented_in(context: Context) -> Presented:
    """The credentials of a call. Raises CredentialError where the certificate cannot be read."""
    metadata = [(key, _text(value)) for key, value in context.invocation_metadata() or ()]
    certificates = context.auth_context().get(_CERTIFICATE, ())
    return Presented(
        tuple(name for certificate in certificates for name in _names(bytes(certificate))),
        tuple(_bearer(value) for key, value in metadata if key == AUTHORIZATION_KEY),
        tuple(value for key, value in metadata if key == API_KEY_KEY),
    )


@lru_cache(maxsize=1024)
def _names(certificate: bytes) -> tuple[str, ...]:
    return names_in(certificate)


def _bearer(value: str) -> str:
    """The token of a header; one of another scheme is no token, and fails to verify as one."""
    return value[len(_BEARER) :].strip() if value[: len(_BEARER)].lower() == _BEARER else ""


def _text(value: str | bytes) -> str:
    return value if isinstance(value, str) else value.decode("latin-1")
