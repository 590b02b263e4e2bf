"""The methods of `hetero.v1.HeteroService` under a policy: each is admitted, computed, released through the guard.

What a method computes is said here, what a decision makes of it in `hetero.private_answers`; without a policy none of
this runs (`servicer.py`). Plans, times and prompt lengths stay inside: they are the administrators'.
"""

import asyncio
from contextlib import AbstractContextManager, nullcontext
from functools import partial

from adaptive.modes import AdaptiveChoice, ExitMode
from hetero.batch import FloatArray
from hetero.encoding import check_texts, class_scores
from hetero.errors import InvalidRequestError
from hetero.private_answers import (
    check_claim,
    check_labels,
    check_noised,
    check_rows,
    check_vectors,
    kept_mechanism,
    output_mechanism,
    private_labels,
    private_sampling,
    private_vectors,
    warm,
)
from hetero.served import Served
from hetero.server import convert
from hetero.server.convert_adaptive import choice_from_wire, refuse_exits
from hetero.server.governor import Context, Governor
from hetero.server.private_stream import complete, complete_from_documents, is_told_whole, streamed
from hetero.server.servicer import Servicer, submitted, vectors_of
from hetero.types import ClassScores, ModelInfo
from hetero.v1 import inference_pb2 as wire
from hetero.validation import check_length, check_sampling
from privacy.admission import Admission
from privacy.mechanisms import DocumentTokens
from privacy.types import Decision, Method, Protection


class GovernedServicer(Servicer):
    """Serves one runtime under one policy."""

    def __init__(self, governor: Governor) -> None:
        super().__init__()
        self._governor = governor

    def attach(self, served: Served) -> None:
        """Serve; the mechanisms that the policy names have drawn before, so that the first request does not show it."""
        for rule in self._governor.governance.policy.rules:
            if (
                rule.protection is Protection.OUTPUT_DP
                and rule.mechanism
                and (rule.models or {served.name}) & {served.name}
            ):
                warm(kept_mechanism(rule.mechanism), served.info.hidden_size)
        super().attach(served)

    async def Generate(self, request: wire.GenerateRequest, context: Context) -> None:  # type: ignore[override]
        served, governor = self._ready(), self._governor
        prompt, asked = convert.prompt_from_wire(request), convert.sampling_from_wire(request.sampling)
        call = governor.call(served.name, Method.GENERATE, request, asked.max_tokens)
        token_ids: tuple[int, ...] = ()

        async def check(decision: Decision) -> None:
            nonlocal token_ids
            refuse_exits(request)
            mechanism = output_mechanism(decision)
            if served.documents and isinstance(mechanism, DocumentTokens):
                await asyncio.to_thread(served.documents.check, prompt, asked, mechanism)
                return
            check_sampling(private_sampling(mechanism, asked), served.info.vocabulary_size)
            token_ids = await asyncio.to_thread(served.model.tokenize, prompt)
            check_length(len(token_ids), served.info.context_tokens)

        async def compute(decision: Decision) -> wire.GenerateResponse:
            mechanism = output_mechanism(decision)
            if served.documents and isinstance(mechanism, DocumentTokens):
                return await complete_from_documents(served.documents, prompt, asked, mechanism, context)
            sampling = private_sampling(mechanism, asked)
            return await complete(served.model, token_ids, sampling, context)

        admission = await governor.admit(call, check)
        if admission.replayed is not None or is_told_whole(admission.decision):
            parse = wire.GenerateResponse.FromString
            with _place(served, admission):
                await context.write(await governor.settle(context, call, admission, compute, parse))
            return
        try:
            await governor.open(admission)
            await streamed(served.model, token_ids, asked, context, partial(governor.release, context, call, admission))
        except BaseException:
            governor.abandon(admission)
            raise

    async def Embed(self, request: wire.EmbedRequest, context: Context) -> wire.EmbedResponse:
        served, texts = self._ready(), list(request.texts)
        call = self._governor.call(served.name, Method.EMBED, request, len(texts))

        async def check(decision: Decision) -> None:
            _require_encoder(served.info, labelled=False if served.model.info.labels else None)
            check_texts(texts)
            check_vectors(output_mechanism(decision))

        async def compute(decision: Decision) -> wire.EmbedResponse:
            vectors = await vectors_of(served.model.submit_embedding, texts)
            noised = await asyncio.to_thread(private_vectors, output_mechanism(decision), vectors)
            return convert.vectors_to_wire(noised)

        return await self._governor.answer(context, call, check, compute, wire.EmbedResponse.FromString)

    async def Classify(self, request: wire.ClassifyRequest, context: Context) -> wire.ClassifyResponse:
        served, texts = self._ready(), list(request.texts)
        call = self._governor.call(served.name, Method.CLASSIFY, request, len(texts))

        async def check(decision: Decision) -> None:
            _require_encoder(served.info, labelled=True)
            check_texts(texts)
            check_labels(output_mechanism(decision), served.labels)
            _depth_choice(decision, request)

        async def compute(decision: Decision) -> wire.ClassifyResponse:
            answer = await submitted(served.submit_texts, texts, _depth_choice(decision, request))
            logits = served.class_logits(await asyncio.wrap_future(answer))
            depths = None if decision.side_channels.constant_depth else answer.depths.tolist()
            scored = await asyncio.to_thread(_scored, decision, logits, served.labels, depths)
            return convert.scores_to_wire(scored, served.info.block_count)

        return await self._governor.answer(context, call, check, compute, wire.ClassifyResponse.FromString)

    async def ClassifyVectors(
        self, request: wire.ClassifyVectorsRequest, context: Context
    ) -> wire.ClassifyVectorsResponse:
        served, noised = self._ready(), request.HasField("mechanism")
        arrives = Protection.LOCAL_DP if noised else Protection.NONE
        call = self._governor.call(served.name, Method.CLASSIFY_VECTORS, request, len(request.vectors), arrives)

        async def check(decision: Decision) -> None:
            head = served.head(request.head)
            check_rows(convert.rows_from_wire(request), head)
            check_labels(output_mechanism(decision), head.labels)
            if noised:
                check_claim(convert.mechanism_from_wire(request.mechanism), decision)

        async def compute(decision: Decision) -> wire.ClassifyVectorsResponse:
            head, rows = served.head(request.head), convert.rows_from_wire(request)
            scored = await asyncio.to_thread(_scored, decision, head.scores(rows), head.labels)
            return wire.ClassifyVectorsResponse(classifications=convert.classifications_to_wire(scored))

        def arrived(decision: Decision) -> None:
            check_noised(convert.rows_from_wire(request), decision)

        parse = wire.ClassifyVectorsResponse.FromString
        return await self._governor.answer(context, call, check, compute, parse, arrived if noised else None)

    async def GetModel(self, request: wire.GetModelRequest, context: Context) -> wire.GetModelResponse:
        self._governor.require_tenant()
        return await super().GetModel(request, context)

    async def GetPlan(self, request: wire.GetPlanRequest, context: Context) -> wire.GetPlanResponse:
        self._governor.require_admin()
        return await super().GetPlan(request, context)

    async def ListDevices(self, request: wire.ListDevicesRequest, context: Context) -> wire.ListDevicesResponse:
        self._governor.require_admin()
        return await super().ListDevices(request, context)


def _place(served: Served, admission: Admission) -> AbstractContextManager[None]:
    """A place in the queue of questions about documents, for one that is to be answered."""
    asks = admission.replayed is None and isinstance(output_mechanism(admission.decision), DocumentTokens)
    return served.documents.place() if served.documents and asks else nullcontext()


def _scored(
    decision: Decision, logits: FloatArray, labels: tuple[str, ...], depths: list[int] | None = None
) -> list[ClassScores]:
    """Probabilities, or what the decision's mechanism leaves of them; with depths only where these may differ."""
    mechanism = output_mechanism(decision)
    return class_scores(logits, labels, depths) if mechanism is None else private_labels(mechanism, logits, labels)


def _depth_choice(decision: Decision, request: wire.ClassifyRequest) -> AdaptiveChoice | None:
    """Where the request's texts may stop. Raises InvalidRequestError for an exit where the depth is to be constant."""
    asked = choice_from_wire(request)
    if not decision.side_channels.constant_depth:
        return asked
    if asked is not None and asked.mode is not ExitMode.OFF:
        raise InvalidRequestError("the policy keeps the depth constant; ask without an exit")
    return AdaptiveChoice(ExitMode.OFF)


def _require_encoder(info: ModelInfo, labelled: bool | None) -> None:
    """Raise InvalidRequestError where the model has not the method, before anything is charged."""
    if info.kind != "encoder":
        raise InvalidRequestError(f"{info.name} is a decoder and gives no vectors; generate with it")
    if labelled is not None and bool(info.labels) != labelled:
        raise InvalidRequestError(f"{info.name} has {'no' if labelled else 'a'} classification head")
