"""The connection of a client: its channel, what each call presents, and gRPC's errors as ours. Knows no methods."""

from typing import Any, NoReturn, Protocol, TypeVar, cast

import grpc

from hetero.errors import ConfigurationError
from hetero.server.status import ERROR_KEY, error_from
from hetero.server.tls import ClientTls

MAX_MESSAGE_BYTES = 64 * 2**20
_KEEPALIVE_MILLISECONDS = 30_000

Metadata = tuple[tuple[str, str], ...]
T_co = TypeVar("T_co", covariant=True)


class UnaryMethod(Protocol[T_co]):
    """A method of a stub, one request and one answer."""

    def __call__(self, request: Any, *, timeout: float | None, metadata: Any) -> T_co: ...
    def with_call(self, request: Any, *, timeout: float | None, metadata: Any) -> tuple[T_co, grpc.Call]: ...


def credentials_of(token: str | None, api_key: str | None) -> Metadata:
    """The headers that prove who asks; both where both are given. Raises ConfigurationError for an unusable one."""
    headers: Metadata = (("authorization", f"Bearer {token}"),) if token else ()
    headers += (("x-api-key", api_key),) if api_key else ()
    if not all(isinstance(value, str) and value.isascii() and value.isprintable() for _, value in headers):
        raise ConfigurationError("a token or API key must be printable ASCII; check that it was copied whole")
    return headers


def open_channel(address: str, tls: ClientTls | bool | None) -> grpc.Channel:
    """A channel to `address`; True trusts the system's authorities.

    Raises ConfigurationError for unusable files, and for what is no address.
    """
    port = address.rpartition(":")[2] if isinstance(address, str) else ""
    if not (port.isdecimal() and int(port) < 2**16):
        raise ConfigurationError(f"the address of a server is HOST:PORT, as in localhost:50051, not {address!r}")
    if not isinstance(tls, ClientTls | bool | None):
        raise ConfigurationError(f"tls is {tls!r} but must be True or a ClientTls, which names the files")
    options = (
        ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
        ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
        ("grpc.keepalive_time_ms", _KEEPALIVE_MILLISECONDS),
    )
    if not tls:
        return grpc.insecure_channel(address, options)
    chosen = tls if isinstance(tls, ClientTls) else ClientTls()
    return grpc.secure_channel(address, chosen.credentials(), options)


def fail(address: str, error: grpc.RpcError) -> NoReturn:
    """Raise our own error for gRPC's."""
    call = call_of(error)
    status, message = call.code(), call.details() or ""
    name = next((str(value) for key, value in call.trailing_metadata() or () if key == ERROR_KEY), None)
    if name is None:
        message = _plain_words(address, status, message)
    raise error_from(status, message, name) from None


def _plain_words(address: str, status: grpc.StatusCode, message: str) -> str:
    """What gRPC itself has to say, as a sentence that names the way out."""
    if status is grpc.StatusCode.UNAVAILABLE:
        return f"no server answers at {address} ({message}); start one with `hetero serve MODEL`"
    if status is grpc.StatusCode.DEADLINE_EXCEEDED:
        return f"the server at {address} did not finish within the deadline; give it more time or ask for less"
    return message


def call_of(error: grpc.RpcError) -> grpc.Call:
    """gRPC's errors of calls are calls themselves, which its types do not say."""
    return cast(grpc.Call, error)


def trailers_of(call: object) -> Metadata:
    """What a stream that was read to its end carried behind it."""
    return cast(Metadata, cast(grpc.Call, call).trailing_metadata() or ())


def cancel(call: object) -> None:
    cast(grpc.RpcContext, call).cancel()
