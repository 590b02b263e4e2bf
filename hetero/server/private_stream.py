"""Completions under a policy: told whole where their pace could tell something, chunk by chunk where it may.

Knows events of the engine and responses; what is charged and when an answer leaves is the governor's.
"""

import asyncio
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from threading import Event

from hetero.document_answers import DocumentAnswers, Patience
from hetero.engine.requests import Failed, Finished
from hetero.prompts import Prompt
from hetero.served import Model
from hetero.server import convert
from hetero.server.bridge import EventBridge
from hetero.server.governor import Context
from hetero.streams import join_chunks
from hetero.types import Chunk, FinishReason, SamplingParams, Timings
from hetero.v1 import inference_pb2 as wire
from privacy.mechanisms import DocumentTokens
from privacy.types import Decision, Protection


def is_told_whole(decision: Decision) -> bool:
    """Whether the completion leaves as one message: the times and sizes of its chunks would tell of each token.

    It must also be stored before any of it leaves, so that a retry gives the same completion and not a second one.
    """
    channels = decision.side_channels
    private = decision.protection is not Protection.NONE
    return private or channels.pad_bytes > 0 or channels.release_grid_seconds > 0


async def complete(
    runtime: Model, token_ids: tuple[int, ...], sampling: SamplingParams, context: Context
) -> wire.GenerateResponse:
    """The whole completion as one response. Raises what the engine raises."""
    chunks: list[Chunk] = []
    async with _submitted(runtime, token_ids, sampling, context) as bridge:
        while True:
            chunk, end = await bridge.take()
            chunks += [chunk] if chunk else []
            if isinstance(end, Failed):
                raise end.error
            if end is not None:
                response = convert.chunk_to_wire(join_chunks(chunks)) if chunks else wire.GenerateResponse()
                response.summary.CopyFrom(_summary(end))
                return response


async def complete_from_documents(
    answers: DocumentAnswers, prompt: Prompt, sampling: SamplingParams, mechanism: DocumentTokens, context: Context
) -> wire.GenerateResponse:
    """The whole answer about private documents as one response; nobody writes on for a caller who has left."""
    remaining = context.time_remaining()
    patience = Patience(Event(), None if remaining is None else time.monotonic() + remaining)
    try:
        chunk = await asyncio.wrap_future(answers.submit(prompt, sampling, mechanism, patience))
    finally:
        patience.given_up.set()
    reason = chunk.finish_reason or FinishReason.LENGTH
    response = convert.chunk_to_wire(chunk)
    response.summary.CopyFrom(_summary(Finished(0, len(chunk.token_ids), reason, Timings(0.0, 0.0, 0.0), 0)))
    return response


async def streamed(
    runtime: Model,
    token_ids: tuple[int, ...],
    sampling: SamplingParams,
    context: Context,
    release: Callable[[bytes], Awaitable[None]],
) -> None:
    """Write chunk by chunk what may be told at once, and `release` the bytes of all messages before the last goes."""
    told = bytearray()
    async with _submitted(runtime, token_ids, sampling, context) as bridge:
        while True:
            chunk, end = await bridge.take()
            response = convert.chunk_to_wire(chunk) if chunk else wire.GenerateResponse()
            if isinstance(end, Failed):
                raise end.error
            if end is not None:
                response.summary.CopyFrom(convert.summary_to_wire(end, None))
            told += response.SerializeToString(deterministic=True)
            if end is not None:
                await release(bytes(told))
            await context.write(response)
            if end is not None:
                return


@asynccontextmanager
async def _submitted(
    runtime: Model, token_ids: tuple[int, ...], sampling: SamplingParams, context: Context
) -> AsyncIterator[EventBridge]:
    """The events of one request, which is cancelled when the block is left early."""
    bridge = EventBridge(asyncio.get_running_loop())
    request_id = uuid.uuid4().hex
    runtime.submit(request_id, token_ids, sampling, bridge.put, context.time_remaining())
    try:
        yield bridge
    finally:
        runtime.cancel(request_id)


def _summary(end: Finished) -> wire.Summary:
    """Why it ended and how many tokens it has, which the text itself tells; not the prompt's length, pace or seed."""
    whole = convert.summary_to_wire(end, None)
    return wire.Summary(
        finish_reason=whole.finish_reason, usage=wire.Usage(completion_tokens=whole.usage.completion_tokens)
    )
