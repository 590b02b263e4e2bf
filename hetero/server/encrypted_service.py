"""The methods of `hetero.v1.EncryptedService`: each takes bytes off the wire and hands them to the gateway, in threads.

Knows messages, tenants and the guard; nothing of ciphertexts. Errors leave as they are for the interceptor around every
method. What a tenant sends is read by a confined worker process alone, so neither its bytes nor the time they take
touch the event loop.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar, cast

import grpc

from hetero.server.convert_encrypted import bundle_of, model_to_wire, sizes_of
from hetero.server.governor import CALLER, RECEIPT_KEY, Call, Governor
from hetero.server.identity import presented_in
from hetero.v1 import encrypted_pb2 as wire
from hetero.v1.encrypted_pb2_grpc import EncryptedServiceServicer, add_EncryptedServiceServicer_to_server
from privacy.errors import DeniedError, EncryptionError
from privacy.he.description import Description
from privacy.he.gateway import Gateway
from privacy.he.headers import check_header
from privacy.he.spec import Kind
from privacy.types import Ask, Decision, Method, Principal, Protection

SERVICE = "hetero.v1.EncryptedService"
_LABELS_EACH = 1000
_MOST_CHUNK_BYTES = 4 * 2**20
_MOST_CIPHERTEXTS = 100_000
#: At the same time, of one tenant.
_UPLOADS_AT_ONCE, _STREAMS_AT_ONCE = 2, 8

Context = grpc.aio.ServicerContext[Any, Any]
T = TypeVar("T")
_METHODS = {
    Method.CLASSIFY_ENCRYPTED: Kind.CLASSIFY,
    Method.SEARCH_ENCRYPTED: Kind.SEARCH,
    Method.APPLY_ENCRYPTED: Kind.LAYER,
}


class EncryptedServicer(EncryptedServiceServicer):
    """Serves a gateway's models. With a governor every ciphertext is admitted by the policy; without, caps alone hold.

    `seconds` are measured times of one ciphertext by model name, told to clients and placers.
    """

    def __init__(
        self, gateway: Gateway, governor: Governor | None = None, seconds: dict[str, float] | None = None
    ) -> None:
        self._gateway, self._governor, self._seconds = gateway, governor, seconds or {}
        self._busy: Counter[tuple[str, str]] = Counter()
        # One thread a worker computes, one more lets keys and lists pass.
        self._threads = ThreadPoolExecutor(gateway.settings.workers + 1, thread_name_prefix="encrypted")

    async def ListEncryptedModels(
        self, request: wire.ListEncryptedModelsRequest, context: Context
    ) -> wire.ListEncryptedModelsResponse:
        who = self._caller(context)
        models = await self._aside(lambda: [self._described(who, name) for name in self._gateway.models])
        return wire.ListEncryptedModelsResponse(models=models)

    async def GetLabels(self, request: wire.GetLabelsRequest, context: Context) -> None:  # type: ignore[override]
        self._caller(context)
        labels = self._gateway.model(request.model).labels
        for at in range(0, len(labels), _LABELS_EACH):
            await context.write(wire.GetLabelsResponse(labels=labels[at : at + _LABELS_EACH]))

    async def FindKeys(self, request: wire.FindKeysRequest, context: Context) -> wire.FindKeysResponse:
        who = self._caller(context)
        return wire.FindKeysResponse(found=await self._aside(self._gateway.has_keys, who, request.digest))

    async def UploadKeys(
        self, requests: AsyncIterator[wire.UploadKeysRequest], context: Context
    ) -> wire.UploadKeysResponse:
        who = self._caller(context)
        with self._one_more(who, "uploads", _UPLOADS_AT_ONCE):
            header = (await _first(requests)).header
            self._gateway.admit_upload(who, header.parameters, sizes_of(header))
            data = await _collected(requests, sum(sizes_of(header)))
            await self._aside(lambda: self._gateway.put_keys(who, bundle_of(header, data), header.digest))
        return wire.UploadKeysResponse()

    async def ClassifyEncrypted(  # type: ignore[override]
        self, requests: AsyncIterator[wire.EncryptedRequest], context: Context
    ) -> None:
        await self._serve(Method.CLASSIFY_ENCRYPTED, requests, context)

    async def SearchEncrypted(  # type: ignore[override]
        self, requests: AsyncIterator[wire.EncryptedRequest], context: Context
    ) -> None:
        await self._serve(Method.SEARCH_ENCRYPTED, requests, context)

    async def ApplyEncrypted(  # type: ignore[override]
        self, requests: AsyncIterator[wire.EncryptedRequest], context: Context
    ) -> None:
        await self._serve(Method.APPLY_ENCRYPTED, requests, context)

    def close(self) -> None:
        """End the threads; the gateway stays its owner's to close."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _serve(self, method: Method, requests: AsyncIterator[wire.EncryptedRequest], context: Context) -> None:
        """Answer ciphertexts in their order, one at a time: a tenant's stream uses one worker."""
        who = self._caller(context)
        with self._one_more(who, "streams", _STREAMS_AT_ONCE):
            header = (await _first(requests)).header
            model = self._gateway.model(header.model, _METHODS[method])
            _check_header(header, model)
            number = 0
            async for request in requests:
                if number >= header.ciphertexts or request.WhichOneof("content") != "ciphertext":
                    raise EncryptionError("after the header come as many ciphertexts as it says, and nothing else")
                await context.write(await self._answer(who, method, model, header, number, request.ciphertext, context))
                number += 1

    async def _answer(
        self,
        who: Principal,
        method: Method,
        model: Description,
        header: wire.EncryptedHeader,
        number: int,
        ciphertext: bytes,
        context: Context,
    ) -> wire.EncryptedResponse:
        async def compute(decision: Decision | None) -> wire.EncryptedResponse:
            applied = await self._aside(self._gateway.apply, who, model.name, header.keys, ciphertext)
            return wire.EncryptedResponse(number=number, answers=applied.answers)

        if self._governor is None:
            return await compute(None)
        # Each counts as many vectors as it has room for, whatever is in it. The number stands in the payload so that an
        # answer that is given again is given at its place.
        ask = Ask(who, model.name, method, Protection.ENCRYPTED, model.vectors)
        payload = header.SerializeToString(deterministic=True) + number.to_bytes(4, "big") + ciphertext
        parse = wire.EncryptedResponse.FromString
        signed = _ReceiptOfOne()
        answer = await self._governor.answer(
            cast(Context, signed),
            Call(ask, payload),
            _no_check,
            compute,
            parse,
            lambda decision: check_header(ciphertext),
        )
        answer.receipt = signed.receipt
        return answer

    def _described(self, who: Principal, name: str) -> wire.EncryptedModel:
        model = self._gateway.model(name)
        return model_to_wire(model, self._gateway.queries_left(who, name), self._seconds.get(name))

    def _caller(self, context: Context) -> Principal:
        """Under a policy who the credentials proved; else who the verified certificate names, or everyone as one."""
        if self._governor is not None:
            self._governor.require_tenant()
            return CALLER.get()
        names = presented_in(context).names
        return Principal(names[0], "certificate") if names else Principal("everyone", "none")

    @contextmanager
    def _one_more(self, who: Principal, what: str, most: int) -> Iterator[None]:
        key = (who.tenant, what)
        if self._busy[key] >= most:
            raise DeniedError(f"at most {most} {what} of a tenant run at the same time; wait for one to end")
        self._busy[key] += 1
        try:
            yield
        finally:
            self._busy[key] -= 1

    async def _aside(self, work: Callable[..., T], *arguments: Any) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, lambda: work(*arguments))


class _ReceiptOfOne:
    """Takes the receipt of one answer of a stream, whose trailers could hold only the last."""

    receipt = b""

    def set_trailing_metadata(self, pairs: Sequence[tuple[str, bytes]]) -> None:
        self.receipt = dict(pairs)[RECEIPT_KEY]


@dataclass(frozen=True, slots=True)
class Encrypted:
    """What a server needs to offer the service: an open gateway, and measured seconds of one ciphertext by model."""

    gateway: Gateway
    seconds: dict[str, float] = field(default_factory=dict)

    def adder(self, undo: ExitStack, governor: Governor | None = None) -> Callable[[grpc.aio.Server], None]:
        """Adds the service to a server, under the policy of `governor`; `undo` ends it."""
        servicer = EncryptedServicer(self.gateway, governor, self.seconds)
        undo.callback(servicer.close)
        return partial(add_EncryptedServiceServicer_to_server, servicer)


def add_encrypted_service(
    server: grpc.aio.Server, encrypted: Encrypted, undo: ExitStack, governor: Governor | None = None
) -> None:
    """Register the service on a server whose interceptors turn errors into statuses; before it starts."""
    encrypted.adder(undo, governor)(server)


def _check_header(header: wire.EncryptedHeader, model: Description) -> None:
    if header.digest != model.digest:
        raise EncryptionError("the model has other weights now than the client knows; ask for its description again")
    if not 1 <= header.ciphertexts <= _MOST_CIPHERTEXTS:
        raise EncryptionError(f"a stream carries 1 to {_MOST_CIPHERTEXTS} ciphertexts")


async def _first(requests: AsyncIterator[Any]) -> Any:
    """The first message, which must be a header. Raises EncryptionError."""
    async for request in requests:
        if request.WhichOneof("content") == "header":
            return request
        break
    raise EncryptionError("the stream must begin with a header")


async def _collected(requests: AsyncIterator[wire.UploadKeysRequest], size: int) -> bytearray:
    """All chunks together, of `size` bytes at most. Raises EncryptionError where more come, or something else."""
    data = bytearray()
    async for request in requests:
        if request.WhichOneof("content") != "chunk" or not 0 < len(request.chunk) <= _MOST_CHUNK_BYTES:
            raise EncryptionError(f"after the header come chunks of 1 to {_MOST_CHUNK_BYTES} bytes")
        data += request.chunk
        if len(data) > size:
            raise EncryptionError("more bytes came than the header says")
    return data


async def _no_check(decision: Decision) -> None:
    """What a ciphertext is is the worker's to find out, after it is admitted and charged."""
