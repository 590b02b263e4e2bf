"""Between wire messages and our own types, both ways, and nothing else: requests, completions, vectors, the model.

The servicer uses one half of each pair, the client the other. Devices and plans are in `convert_placement.py`.
"""

from collections.abc import Iterable, Sequence

import numpy as np

from hetero.batch import FloatArray
from hetero.encoding import check_texts, rows_of
from hetero.engine.requests import Finished
from hetero.errors import InvalidRequestError
from hetero.prompts import Prompt, split_prompt
from hetero.server.convert_placement import known, plan_from_wire, plan_to_wire
from hetero.streams import Ending
from hetero.types import Chunk, ClassScores, FinishReason, ModelInfo, SamplingParams, Timings, TokenLogprob
from hetero.v1 import inference_pb2 as wire
from placement.types import Plan
from privacy.types import MechanismSpec

_OPTIONAL_SAMPLING = (
    "max_tokens",
    "temperature",
    "top_k",
    "top_p",
    "min_p",
    "repetition_penalty",
    "seed",
    "logprobs",
    "ignore_eos",
)
_FINISH_REASONS = {
    FinishReason.EOS: wire.FINISH_REASON_EOS,
    FinishReason.STOP: wire.FINISH_REASON_STOP,
    FinishReason.LENGTH: wire.FINISH_REASON_LENGTH,
}
_FROM_FINISH_REASON = {value: key for key, value in _FINISH_REASONS.items()}


def prompt_to_wire(prompt: Prompt, request: wire.GenerateRequest) -> None:
    """Put `prompt` into `request`. Raises InvalidRequestError where it is none of the kinds."""
    text, token_ids, messages = split_prompt(prompt)
    try:
        if text:
            request.text = text
        elif token_ids:
            request.token_ids.ids.extend(token_ids)
        else:
            request.chat.messages.extend(wire.ChatMessage(**message) for message in messages)
    except ValueError as error:
        raise InvalidRequestError(f"the prompt cannot be sent: {error}") from None


def prompt_from_wire(request: wire.GenerateRequest) -> Prompt:
    """The prompt of `request`. Raises InvalidRequestError where it has none."""
    kind = request.WhichOneof("prompt")
    if kind == "text":
        return request.text
    if kind == "token_ids":
        return list(request.token_ids.ids)
    if kind == "chat":
        return [{"role": message.role, "content": message.content} for message in request.chat.messages]
    raise InvalidRequestError("the request has no prompt; set text, token_ids or chat")


def texts_to_wire(texts: Sequence[str], request: wire.EmbedRequest | wire.ClassifyRequest) -> None:
    """Put `texts` into `request`. Raises InvalidRequestError where they are no list of strings."""
    check_texts(texts)
    try:
        request.texts.extend(texts)
    except (TypeError, ValueError) as error:
        raise InvalidRequestError(f"the texts cannot be sent: {error}") from None


def sampling_to_wire(sampling: SamplingParams) -> wire.SamplingOptions:
    """Every value, defaults included, so that a server with other defaults does the same."""
    if sampling.private_clip:
        raise InvalidRequestError("private_clip is the server's policy's to choose; leave it out")
    values = {name: getattr(sampling, name) for name in _OPTIONAL_SAMPLING}
    try:
        return wire.SamplingOptions(
            **{name: value for name, value in values.items() if value is not None},
            stop=sampling.stop,
            stop_token_ids=sampling.stop_token_ids,
        )
    except (TypeError, ValueError) as error:
        raise InvalidRequestError(f"a sampling value cannot be sent: {error}") from None


def sampling_from_wire(options: wire.SamplingOptions) -> SamplingParams:
    """What is present, over the defaults."""
    given = {name: getattr(options, name) for name in _OPTIONAL_SAMPLING if options.HasField(name)}
    return SamplingParams(**given, stop=tuple(options.stop), stop_token_ids=tuple(options.stop_token_ids))


def chunk_to_wire(chunk: Chunk) -> wire.GenerateResponse:
    return wire.GenerateResponse(
        text=chunk.text,
        token_ids=chunk.token_ids,
        logprobs=[_logprob_to_wire(logprob) for logprob in chunk.logprobs],
        exit_depths=chunk.depths,
    )


def chunk_from_wire(response: wire.GenerateResponse) -> Chunk:
    """The chunk in a response; its reason to end, where it is the last, is the summary's."""
    return Chunk(
        response.text,
        tuple(response.token_ids),
        tuple(_logprob_from_wire(logprob) for logprob in response.logprobs),
        _FROM_FINISH_REASON.get(response.summary.finish_reason) if response.HasField("summary") else None,
        tuple(response.exit_depths),
    )


def _logprob_to_wire(logprob: TokenLogprob) -> wire.TokenLogprob:
    return wire.TokenLogprob(
        token_id=logprob.token_id,
        logprob=logprob.logprob,
        alternatives=[wire.TokenAlternative(token_id=i, logprob=value) for i, value in logprob.alternatives],
    )


def _logprob_from_wire(logprob: wire.TokenLogprob) -> TokenLogprob:
    alternatives = tuple((other.token_id, other.logprob) for other in logprob.alternatives)
    return TokenLogprob(logprob.token_id, logprob.logprob, alternatives)


def summary_to_wire(finished: Finished, plan: Plan | None) -> wire.Summary:
    """The summary; without a plan where the caller may not see it."""
    return wire.Summary(
        finish_reason=_FINISH_REASONS[finished.finish_reason],
        usage=wire.Usage(prompt_tokens=finished.prompt_tokens, completion_tokens=finished.completion_tokens),
        timings=wire.Timings(
            queue_seconds=finished.timings.queue_seconds,
            ttft_seconds=finished.timings.ttft_seconds,
            itl_seconds_median=finished.timings.itl_seconds_median,
            tokens_per_second=finished.timings.tokens_per_second,
        ),
        seed=finished.seed,
        plan=plan_to_wire(plan) if plan else None,
    )


def summary_from_wire(summary: wire.Summary) -> Ending:
    times = summary.timings
    return Ending(
        summary.usage.prompt_tokens,
        summary.usage.completion_tokens,
        known(_FROM_FINISH_REASON, summary.finish_reason, "a reason to end"),
        Timings(times.ttft_seconds, times.itl_seconds_median, times.tokens_per_second, times.queue_seconds),
        summary.seed,
        plan_from_wire(summary.plan),
    )


def vectors_to_wire(vectors: FloatArray) -> wire.EmbedResponse:
    """vectors: float32 [N, D]."""
    return wire.EmbedResponse(embeddings=[wire.Embedding(values=row) for row in vectors.tolist()])


def vectors_from_wire(response: wire.EmbedResponse) -> FloatArray:
    return np.array([list(embedding.values) for embedding in response.embeddings], np.float32)


def rows_from_wire(request: wire.ClassifyVectorsRequest) -> FloatArray:
    """The vectors that a client sent, float32 [N, D]. Raises InvalidRequestError for none, or of several lengths."""
    return rows_of([vector.values for vector in request.vectors])


def rows_to_wire(rows: FloatArray, head: str, mechanism: MechanismSpec | None) -> wire.ClassifyVectorsRequest:
    """rows: float32 [N, D]. Raises InvalidRequestError where they are no such array."""
    try:
        vectors = [wire.Embedding(values=row) for row in np.asarray(rows, np.float32).tolist()]
    except (TypeError, ValueError) as error:
        raise InvalidRequestError(f"the vectors must be rows of numbers: {error}") from None
    claimed = mechanism_to_wire(mechanism) if mechanism else None
    return wire.ClassifyVectorsRequest(head=head, vectors=vectors, mechanism=claimed)


def mechanism_to_wire(spec: MechanismSpec) -> wire.LocalMechanism:
    return wire.LocalMechanism(name=spec.name, parameters=dict(spec.parameters))


def mechanism_from_wire(mechanism: wire.LocalMechanism) -> MechanismSpec:
    return MechanismSpec(mechanism.name, tuple(sorted(mechanism.parameters.items())))


def scores_to_wire(scored: Sequence[ClassScores], block_count: int = 0) -> wire.ClassifyResponse:
    """`block_count` of the model, where the scores tell how many of them were run."""
    return wire.ClassifyResponse(classifications=classifications_to_wire(scored, block_count))


def scores_from_wire(response: wire.ClassifyResponse) -> list[ClassScores]:
    return classifications_from_wire(response.classifications)


def classifications_to_wire(scored: Sequence[ClassScores], block_count: int = 0) -> list[wire.Classification]:
    return [_classification(scores, block_count) for scores in scored]


def _classification(scores: ClassScores, block_count: int) -> wire.Classification:
    if not scores.probabilities:
        return wire.Classification(label=scores.label)
    pairs = zip(scores.labels, scores.probabilities, strict=True)
    found = wire.Classification(scores=[wire.ClassScore(label=label, probability=value) for label, value in pairs])
    if scores.depth and block_count:
        found.depth, found.saved_blocks = scores.depth, block_count - scores.depth
    return found


def classifications_from_wire(found: Iterable[wire.Classification]) -> list[ClassScores]:
    return [
        ClassScores((one.label,), ())
        if one.label
        else ClassScores(
            tuple(each.label for each in one.scores), tuple(each.probability for each in one.scores), one.depth or None
        )
        for one in found
    ]


def model_to_wire(info: ModelInfo) -> wire.GetModelResponse:
    return wire.GetModelResponse(
        name=info.name,
        kind=wire.MODEL_KIND_DECODER if info.kind == "decoder" else wire.MODEL_KIND_ENCODER,
        family=info.family,
        block_count=info.block_count,
        hidden_size=info.hidden_size,
        vocabulary_size=info.vocabulary_size,
        context_tokens=info.context_tokens,
        labels=info.labels,
        server_version=info.server_version,
    )


def model_from_wire(response: wire.GetModelResponse) -> ModelInfo:
    return ModelInfo(
        response.name,
        "decoder" if response.kind == wire.MODEL_KIND_DECODER else "encoder",
        response.family,
        response.block_count,
        response.hidden_size,
        response.vocabulary_size,
        response.context_tokens,
        tuple(response.labels),
        response.server_version,
    )
