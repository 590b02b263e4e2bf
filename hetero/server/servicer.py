"""The methods of `hetero.v1.HeteroService`: each converts, asks the runtime, converts back.

Knows neither ports nor credentials (`server.py`, `interceptors.py`). Errors leave as they are; the interceptor that
wraps every method turns them into statuses.
"""

import asyncio
import uuid
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import grpc

from hetero.batch import FloatArray
from hetero.encoding import Vectors, class_scores
from hetero.engine.requests import Failed
from hetero.errors import UnavailableError
from hetero.served import Model, Served
from hetero.server import convert
from hetero.server.bridge import EventBridge
from hetero.server.convert_adaptive import choice_from_wire
from hetero.server.convert_placement import device_to_wire, plan_to_wire, report_to_wire
from hetero.v1 import inference_pb2 as wire
from hetero.v1.inference_pb2_grpc import HeteroServiceServicer

Context = grpc.aio.ServicerContext[Any, Any]


class Servicer(HeteroServiceServicer):
    """Serves one model once it is `attach`ed; before that, and after `detach`, every call is UNAVAILABLE."""

    def __init__(self) -> None:
        self._served: Served | None = None
        self._absence = "the model is still loading; try again soon"

    def attach(self, served: Served) -> None:
        self._served = served

    def detach(self) -> None:
        """Refuse new calls; those in progress go on."""
        self._served, self._absence = None, "the server is draining; try another one"

    def _ready(self) -> Served:
        if self._served is None:
            raise UnavailableError(self._absence)
        return self._served

    # A coroutine that writes, and no generator: a cancelled one would be left hanging at its `yield`.
    async def Generate(self, request: wire.GenerateRequest, context: Context) -> None:  # type: ignore[override]
        runtime = self._ready().model
        prompt = convert.prompt_from_wire(request)
        sampling = convert.sampling_from_wire(request.sampling)
        token_ids = await asyncio.to_thread(runtime.tokenize, prompt)
        bridge = EventBridge(asyncio.get_running_loop())
        request_id = uuid.uuid4().hex  # the caller's own id need not be unique
        adaptive = choice_from_wire(request)
        runtime.submit(request_id, token_ids, sampling, bridge.put, context.time_remaining(), adaptive)
        try:
            await _stream(bridge, runtime, context)
        finally:
            runtime.cancel(request_id)

    async def Embed(self, request: wire.EmbedRequest, context: Context) -> wire.EmbedResponse:
        return convert.vectors_to_wire(await vectors_of(self._ready().model.submit_embedding, request.texts))

    async def Classify(self, request: wire.ClassifyRequest, context: Context) -> wire.ClassifyResponse:
        served, choice = self._ready(), choice_from_wire(request)
        answer = await submitted(served.submit_texts, list(request.texts), choice)
        logits = served.class_logits(await asyncio.wrap_future(answer))
        depths = answer.depths.tolist()
        return convert.scores_to_wire(class_scores(logits, served.labels, depths), served.info.block_count)

    async def ClassifyVectors(
        self, request: wire.ClassifyVectorsRequest, context: Context
    ) -> wire.ClassifyVectorsResponse:
        head = self._ready().head(request.head)
        logits = head.scores(convert.rows_from_wire(request))
        classifications = convert.classifications_to_wire(class_scores(logits, head.labels))
        return wire.ClassifyVectorsResponse(classifications=classifications)

    async def GetModel(self, request: wire.GetModelRequest, context: Context) -> wire.GetModelResponse:
        return convert.model_to_wire(self._ready().info)

    async def GetPlan(self, request: wire.GetPlanRequest, context: Context) -> wire.GetPlanResponse:
        served = self._ready()
        reports = [report_to_wire(report) for report in served.model.reports]
        return wire.GetPlanResponse(plan=plan_to_wire(served.plan), reports=reports)

    async def ListDevices(self, request: wire.ListDevicesRequest, context: Context) -> wire.ListDevicesResponse:
        return wire.ListDevicesResponse(devices=[device_to_wire(device) for device in self._ready().model.devices()])


async def _stream(bridge: EventBridge, runtime: Model, context: Context) -> None:
    """Write what the engine says until its end. Waiting for a slow reader holds up this request alone."""
    while True:
        chunk, end = await bridge.take()
        if isinstance(end, Failed):
            if chunk:
                await context.write(convert.chunk_to_wire(chunk))
            raise end.error
        response = convert.chunk_to_wire(chunk) if chunk else wire.GenerateResponse()
        if end is not None:
            response.summary.CopyFrom(convert.summary_to_wire(end, runtime.plan))
        await context.write(response)
        if end is not None:
            return


async def vectors_of(submit: Callable[[Sequence[str]], Vectors], texts: Iterable[str]) -> FloatArray:
    """Tokenize aside and wait; when the call ends before, texts that are in no batch yet are dropped."""
    return await asyncio.wrap_future(await submitted(submit, list(texts)))


async def submitted(submit: Callable[..., Vectors], *arguments: Any) -> Vectors:
    """What `submit` gives, in a thread of its own; given up as soon as it is there where the call has ended before."""
    work = asyncio.ensure_future(asyncio.to_thread(submit, *arguments))
    try:
        return await asyncio.shield(work)
    except asyncio.CancelledError:
        work.add_done_callback(_give_up)
        raise


def _give_up(work: "asyncio.Future[Vectors]") -> None:
    if not work.cancelled() and not work.exception():
        work.result().cancel()
