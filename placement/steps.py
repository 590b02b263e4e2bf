"""A request as passes through the pipeline: a prompt in chunks, then one step a token; what each moves and spares.

Knows lengths and bytes; knows neither devices nor seconds.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from placement.problem import ModelShape, Traffic
from placement.profiles import Phase

Floats = NDArray[np.float64]

#: What a message carries beside hidden states, and for a row of token ids or of sampled tokens.
_MESSAGE_BYTES, _TOKEN_BYTES = 256, 64


@dataclass(frozen=True, slots=True)
class Step:
    """One pass, `times` of them a request: `tokens` rows that see `context` cached tokens each."""

    phase: Phase
    tokens: int
    context: float
    times: float


def prompt_steps(traffic: Traffic, *, encoder: bool, batch: int = 1) -> tuple[Step, ...]:
    """A prompt's chunks, those of full length as one step of their mean context; or one batch of texts."""
    if encoder:
        return (Step("encode", traffic.prompt_tokens * batch, traffic.prompt_tokens, 1.0),)
    full, rest = divmod(traffic.prompt_tokens, traffic.chunk_tokens)
    steps = [Step("prefill", traffic.chunk_tokens, (full - 1) / 2 * traffic.chunk_tokens, float(full))] if full else []
    if rest:
        steps.append(Step("prefill", rest, full * traffic.chunk_tokens, 1.0))
    return tuple(steps)


def decode_steps(traffic: Traffic, *, encoder: bool, batch: int = 1) -> tuple[Step, ...]:
    """The steps that decode `batch` sequences; the prompt's own step has given the first token already."""
    if encoder or traffic.output_tokens == 1:
        return ()
    context = traffic.prompt_tokens + (traffic.output_tokens - 1) / 2
    return (Step("decode", batch, context, traffic.output_tokens - 1.0),)


def batch_of(traffic: Traffic, stage_count: int) -> int:
    """Sequences that share a step where the requests in flight are spread over as many batches as stages."""
    return math.ceil(traffic.concurrency / stage_count)


def block_shares(traffic: Traffic, step: Step, block_count: int) -> Floats:
    """The part of each block's load that early exit leaves: S + (1 - S) * residual; prompts run in full."""
    if not traffic.survival or step.phase == "prefill":
        return np.ones(block_count)
    survival = np.array(traffic.survival)
    return np.asarray(survival + (1 - survival) * traffic.residual_load)


def head_shares(traffic: Traffic, step: Step, block_count: int) -> Floats:
    """[L] what the heads of exits add to the block before them, as parts of its load; prompts are not looked at."""
    shares = np.zeros(block_count)
    for point in traffic.exits if step.phase != "prefill" else ():
        shares[point.depth - 1] = point.head_share * _survival(traffic, block_count)[point.depth - 1]
    return shares


def going_on(traffic: Traffic, step: Step, block_count: int) -> Floats:
    """[L+1] by boundary: the inputs that go on behind an exit, as a part of all; 0 where there is no exit."""
    shares = np.zeros(block_count + 1)
    for point in traffic.exits if step.phase != "prefill" else ():
        shares[point.depth] = _survival(traffic, block_count)[point.depth]
    return shares


def _survival(traffic: Traffic, block_count: int) -> tuple[float, ...]:
    return traffic.survival or (1.0,) * block_count


def boundary_bytes(model: ModelShape, step: Step) -> Floats:
    """[L+1] bytes of the message at every boundary: token ids in, hidden states between, tokens or vectors out."""
    rows = [layer.activation_bytes_per_token for layer in model.layers[:-1]]
    inside = step.tokens * np.array(rows, dtype=float) + _MESSAGE_BYTES
    out = step.tokens if step.phase == "decode" else 1
    ends = [step.tokens * _TOKEN_BYTES + _MESSAGE_BYTES, out * _TOKEN_BYTES + _MESSAGE_BYTES]
    return np.concatenate([ends[:1], inside, ends[1:]])
