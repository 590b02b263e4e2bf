"""The guard around one call: admit, compute, store, release, at the time and in the size that the policy says.

Knows the guard, the caller's identity and gRPC's contexts; what is computed is the methods' (`governed.py`). Whatever
fails before the release, no answer leaves; whatever fails before the admission, nothing is computed.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol, TypeVar

import grpc
from google.protobuf.message import Message

from hetero.errors import InvalidRequestError
from hetero.governance import Governance
from hetero.server.call_log import CallLog
from hetero.server.side_channels import Departure, pad
from privacy.admission import Admission
from privacy.errors import DeniedError
from privacy.policy.decide import decide
from privacy.types import Ask, Decision, Method, Principal, Protection

RECEIPT_KEY = "hetero-receipt-bin"
#: Who asks, set by the interceptor once the credentials are verified.
CALLER: ContextVar[Principal] = ContextVar("caller")

Context = grpc.aio.ServicerContext[Any, Any]
Answer = TypeVar("Answer", bound="PaddedMessage")
Result = TypeVar("Result")
Check = Callable[[Decision], Awaitable[None]]
Arrived = Callable[[Decision], None]


class PaddedMessage(Protocol):
    """A generated message that can be padded."""

    padding: bytes

    def ByteSize(self) -> int: ...
    def SerializeToString(self, *, deterministic: bool = ...) -> bytes: ...


@dataclass(frozen=True, slots=True)
class Call:
    """One request as the policy sees it: what is asked, its bytes, and when it came."""

    ask: Ask
    payload: bytes
    departure: Departure = field(default_factory=Departure)


class Governor:
    """Puts calls through the guard of one server."""

    def __init__(self, governance: Governance) -> None:
        self._governance = governance
        self._log = CallLog()

    @property
    def governance(self) -> Governance:
        return self._governance

    def call(
        self, model: str, method: Method, request: Message, count: int, arrives: Protection = Protection.NONE
    ) -> Call:
        """The call of the caller whose credentials the interceptor verified."""
        payload = request.SerializeToString(deterministic=True)
        return Call(Ask(CALLER.get(), model, method, arrives, count), payload)

    async def admit(self, call: Call, check: Check) -> Admission:
        """Have the request admitted and charged, or replayed. Raises what `check` and the guard raise.

        `check` sees the decision before anything is charged, and raises where the request cannot be served under it:
        a request that is wrong costs nothing. One that is denied is not looked at.
        """
        if call.ask.count < 1:
            raise InvalidRequestError("the request asks for nothing; ask for one token, text or vector at least")
        preview = decide(self._governance.policy, call.ask, "preview")
        if preview.allowed:
            await check(preview)
        return await self._aside(self._governance.guard.admit, call.ask, call.payload)

    async def settle(
        self,
        context: Context,
        call: Call,
        admission: Admission,
        compute: Callable[[Decision], Awaitable[Answer]],
        parse: Callable[[bytes], Answer],
        arrived: Arrived | None = None,
    ) -> Answer:
        """The answer, computed or replayed, once it is stored and its time has come; its receipt is in the trailers.

        It is stored no sooner than its time: a retry, free once there is an answer, would tell how long it really took.
        Who leaves before then has paid, and pays again. `arrived` looks at a payload that the client noised or
        encrypted, and raises where it is not that.
        """
        channels = admission.decision.side_channels
        try:
            answer = admission.replayed
            if answer is None:
                self._governance.guard.open(admission, partial(arrived, admission.decision) if arrived else None)
                message = await compute(admission.decision)
                pad(message, channels.pad_bytes)
                answer = message.SerializeToString(deterministic=True)
            await call.departure.wait(channels.release_grid_seconds)
            await self.release(context, call, admission, answer)
        except BaseException:
            self.abandon(admission)
            await call.departure.wait(channels.release_grid_seconds)
            raise
        return parse(answer)

    async def release(self, context: Context, call: Call, admission: Admission, answer: bytes) -> None:
        """Store the answer, and put the receipt into the trailers."""
        receipt = await self._aside(self._governance.guard.release, admission, answer)
        context.set_trailing_metadata(((RECEIPT_KEY, receipt.to_bytes()),))
        self._log.tell(call.ask, admission.decision, len(call.payload), len(answer), call.departure.elapsed_seconds)

    async def open(self, admission: Admission) -> None:
        """Say that the payload came as the decision asks, once the decision is on record. Raises where it did not."""
        self._governance.guard.open(admission)
        if admission.recorded is not None:
            await asyncio.wrap_future(admission.recorded)

    def abandon(self, admission: Admission) -> None:
        """End a request that will have no answer."""
        self._governance.guard.abandon(admission)

    async def answer(
        self,
        context: Context,
        call: Call,
        check: Check,
        compute: Callable[[Decision], Awaitable[Answer]],
        parse: Callable[[bytes], Answer],
        arrived: Arrived | None = None,
    ) -> Answer:
        """`admit` and `settle` in one."""
        return await self.settle(context, call, await self.admit(call, check), compute, parse, arrived)

    async def _aside(self, work: Callable[..., Result], *arguments: object) -> Result:
        """Run on one of the guard's threads what waits for the disk."""
        return await asyncio.get_running_loop().run_in_executor(self._governance.threads, work, *arguments)

    def require_admin(self) -> None:
        """Raise DeniedError unless the caller is an administrator."""
        if not CALLER.get().admin:
            raise DeniedError("the method is for administrators; ask with the credential of one")

    def require_tenant(self) -> None:
        """Raise DeniedError unless the policy knows the caller's tenant, or the caller is an administrator."""
        caller = CALLER.get()
        if caller.tenant not in self._governance.policy.tenants and not caller.admin:
            raise DeniedError("the policy does not know the tenant; ask its author to name it")
