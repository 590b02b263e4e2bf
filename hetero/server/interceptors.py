"""What surrounds every call: the credential, the request's id, requests that do not parse, errors as statuses.

Knows nothing of models. Health checks and reflection pass by untouched, but reflection needs the credential too.
"""

import hmac
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any, NoReturn, TypeAlias

import grpc
from google.protobuf.message import DecodeError

from hetero.errors import CancelledRequestError, InvalidRequestError
from hetero.server.calls import Calls
from hetero.server.request_id import REQUEST_ID_KEY, request_id_of
from hetero.server.status import ERROR_KEY, status_of

SERVICE = "hetero.v1.HeteroService"
#: Every service of ours, whose names begin so.
_OURS = "/hetero.v1."
_HEALTH = "/grpc.health.v1.Health/"
#: Of a message in UTF-8: gRPC writes each byte that is not ASCII as three, and takes 8 KiB of metadata in all.
_MAX_MESSAGE_BYTES = 1000
#: A deadline that is this near has passed: the engine's clock and gRPC's differ a little.
_DEADLINE_SECONDS = 0.1

Context = grpc.aio.ServicerContext[Any, Any]
Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"
Method = Callable[[Any, Context], Awaitable[Any]]
MaybeHandler: TypeAlias = "grpc.RpcMethodHandler[Any, Any] | None"
Details = grpc.HandlerCallDetails
Continuation: TypeAlias = "Callable[[Details], Awaitable[MaybeHandler]]"

#: By whether requests and responses are streams: where a handler keeps its method, and what makes such a handler.
_SHAPES = {
    (False, False): "unary_unary",
    (False, True): "unary_stream",
    (True, False): "stream_unary",
    (True, True): "stream_stream",
}
_MAKERS: dict[tuple[bool, bool], Callable[..., Handler]] = {
    (False, False): grpc.unary_unary_rpc_method_handler,
    (False, True): grpc.unary_stream_rpc_method_handler,
    (True, False): grpc.stream_unary_rpc_method_handler,
    (True, True): grpc.stream_stream_rpc_method_handler,
}


@dataclass(frozen=True, slots=True)
class Malformed:
    """Stands for a request that does not parse: gRPC by itself would answer INTERNAL, but the fault is the caller's."""

    reason: str


class EdgeInterceptor(grpc.aio.ServerInterceptor):
    """Wraps the methods of our services: announces the id, refuses what does not parse, turns errors into statuses.

    `on_error` is told of every error; `calls` knows which calls are in progress. `identify`, where given, is asked
    first of all: it raises where the caller cannot be known, and then the request is not even looked at.
    """

    def __init__(
        self,
        calls: Calls,
        on_error: Callable[[Exception], Awaitable[None]],
        identify: Callable[[Context], None] | None = None,
    ) -> None:
        self._calls = calls
        self._on_error = on_error
        self._identify = identify

    @property
    def identifies(self) -> bool:
        """Whether callers must show who they are."""
        return self._identify is not None

    async def intercept_service(self, continuation: Continuation, handler_call_details: Details) -> MaybeHandler:
        handler = await continuation(handler_call_details)
        if handler is None or not handler_call_details.method.startswith(_OURS):
            return handler
        return self._guarded_handler(handler, handler_call_details.method)

    def _guarded_handler(self, handler: Any, name: str) -> Handler:
        """The same method inside the guards."""
        shape = handler.request_streaming, handler.response_streaming
        made = self._guarded(getattr(handler, _SHAPES[shape]), name)
        return _MAKERS[shape](made, _tolerant(handler.request_deserializer), handler.response_serializer)

    def _guarded(self, method: Method, name: str) -> Method:
        async def guarded(request: Any, context: Context) -> Any:
            request_id = request_id_of(context.invocation_metadata())
            with self._calls.one(name, request_id):
                await context.send_initial_metadata(((REQUEST_ID_KEY, request_id),))
                try:
                    if self._identify:
                        self._identify(context)
                    return await method(_well_formed(request), context)
                except Exception as error:
                    await self._on_error(error)
                    await _abort(context, error)

        return guarded


class TokenInterceptor(grpc.aio.ServerInterceptor):
    """Lets calls pass that carry `authorization: Bearer TOKEN`; health checks pass without, for load balancers."""

    def __init__(self, token: str) -> None:
        self._wanted = f"Bearer {token}".encode()

    async def intercept_service(self, continuation: Continuation, handler_call_details: Details) -> MaybeHandler:
        handler = await continuation(handler_call_details)
        if handler is None or handler_call_details.method.startswith(_HEALTH) or self._knows(handler_call_details):
            return handler
        return _refusing(handler)

    def _knows(self, details: Details) -> bool:
        given = [value for key, value in details.invocation_metadata or () if key == "authorization"]
        return len(given) == 1 and hmac.compare_digest(_as_bytes(given[0]), self._wanted)


def _as_bytes(value: str | bytes) -> bytes:
    return value.encode() if isinstance(value, str) else value


def _refusing(handler: Handler) -> Handler:
    """A handler of the same shape that refuses."""

    async def refuse(request: Any, context: Context) -> NoReturn:
        message = "the credential is missing or wrong; send the server's token as `authorization: Bearer TOKEN`"
        await context.abort(grpc.StatusCode.UNAUTHENTICATED, message, ((ERROR_KEY, "AuthenticationError"),))

    return _MAKERS[handler.request_streaming, handler.response_streaming](refuse)


def _tolerant(parse: Callable[[bytes], Any]) -> Callable[[bytes], Any]:
    def parsed(data: bytes) -> Any:
        try:
            return parse(data)
        except DecodeError as error:
            return Malformed(str(error))

    return parsed


def _well_formed(request: Any) -> Any:
    """The request, or a stream of them that ends with an error at one that does not parse."""
    if hasattr(request, "__aiter__"):
        return _well_formed_each(request)
    if isinstance(request, Malformed):
        raise InvalidRequestError(
            f"the request's bytes are not a message of this method, whose texts are UTF-8: {request.reason}"
        )
    return request


async def _well_formed_each(requests: AsyncIterator[Any]) -> AsyncIterator[Any]:
    async for request in requests:
        yield _well_formed(request)


async def _abort(context: Context, error: Exception) -> NoReturn:
    code, message, name = status_of(error)
    remaining = context.time_remaining()
    if isinstance(error, CancelledRequestError) and remaining is not None and remaining < _DEADLINE_SECONDS:
        code = grpc.StatusCode.DEADLINE_EXCEEDED
    await context.abort(code, _cut(message), ((ERROR_KEY, name),))


def _cut(message: str) -> str:
    """As much of the message, in whole characters, as reaches the caller beside its status."""
    return message.encode(errors="replace")[:_MAX_MESSAGE_BYTES].decode(errors="ignore")
