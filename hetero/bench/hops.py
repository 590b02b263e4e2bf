"""What a hop costs: the time from the end of one stage's compute to the start of the next one's.

Drives a started pipeline one batch at a time, as a single request does, and reads the traces that come back. Knows
neither how stages are started nor terminals. Clocks of different machines are not comparable, so only hops between
stages of one node are reported.
"""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from hetero.backends.base import KvSpec
from hetero.batch import Batch, BatchResult, DecodeBatch, EncodeBatch, RowSampling, StageTrace
from hetero.errors import BackendError, ConfigurationError
from hetero.pipeline.base import Pipeline
from placement.types import Plan

DRIVER = "driver"
WARM_UP_STEPS = 20
STEP_SECONDS = 60.0
PROMPT_TOKENS = 8
ENCODER_TOKENS = 16


@dataclass(frozen=True, slots=True)
class Hop:
    """From one stage's end to the next one's start; the driver before the first and after the last counts as one."""

    source: str
    target: str
    p50_seconds: float
    p95_seconds: float


@dataclass(frozen=True, slots=True)
class HopReport:
    """Hops in the order in which a batch takes them, the median compute of each stage, and of a whole step."""

    hops: tuple[Hop, ...]
    stage_seconds: tuple[float, ...]
    step_seconds: float
    steps: int

    @property
    def between_stages(self) -> tuple[Hop, ...]:
        """The hops that have a stage at both ends."""
        return tuple(hop for hop in self.hops if DRIVER not in (hop.source, hop.target))


@dataclass(frozen=True, slots=True)
class Step:
    """One batch's way: when it was submitted and collected, and the stages' traces between (monotonic seconds)."""

    submitted_at_seconds: float
    traces: tuple[StageTrace, ...]
    collected_at_seconds: float


def measure_hops(pipeline: Pipeline, plan: Plan, kv: KvSpec | None, steps: int = 300) -> HopReport:
    """Send `steps` batches of one token (an encoder's: one short row) through a started, otherwise idle pipeline.

    `kv` is the pipeline's own, None for an encoder. Raises BackendError if a stage fails, StageLostError if one dies,
    ConfigurationError if there is nothing to measure.
    """
    if steps < 1:
        raise ConfigurationError(f"{steps} steps cannot be measured; ask for one at least")
    batches: Iterator[Batch] = _decode_batches(kv) if kv else _encode_batches()
    taken = [take_step(pipeline, batch) for batch, _ in zip(batches, range(WARM_UP_STEPS + steps), strict=False)]
    return summarise(plan, taken[WARM_UP_STEPS:])


def _decode_batches(kv: KvSpec) -> Iterator[DecodeBatch]:
    """A prompt and then token by token up to the context's end, over and over: one request after another."""
    number = 0
    while True:
        past = 0
        while past < min(kv.max_context, kv.block_count * kv.block_tokens):
            length = 1 if past else min(PROMPT_TOKENS, kv.max_context)
            yield _decode_batch(number, past, length, kv)
            number, past = number + 1, past + length


def _decode_batch(number: int, past: int, length: int, kv: KvSpec) -> DecodeBatch:
    blocks = -(-(past + length) // kv.block_tokens)
    return DecodeBatch(
        number,
        token_ids=np.ones(length, np.int64),
        positions=np.arange(past, past + length),
        past_lens=np.array([past], np.int32),
        begins=np.array([0, length], np.int32),
        block_indices=np.arange(blocks, dtype=np.int32),
        block_begins=np.array([0, blocks], np.int32),
        slots=np.zeros(1, np.int32),
        sample_rows=np.array([length - 1]),
        sampling=(RowSampling(position=past + length),),
    )


def _encode_batches() -> Iterator[EncodeBatch]:
    number = 0
    shape = (1, ENCODER_TOKENS)
    while True:
        yield EncodeBatch(number, np.ones(shape, np.int64), np.ones(shape, np.int64), np.zeros(shape, np.int64))
        number += 1


def take_step(pipeline: Pipeline, batch: Batch) -> Step:
    """Send one batch through an idle pipeline. Raises BackendError if a stage fails or none answers."""
    submitted = time.monotonic()
    pipeline.submit(batch)
    result = collect_result(pipeline)
    return Step(submitted, result.traces, time.monotonic())


def collect_result(pipeline: Pipeline) -> BatchResult:
    """The next result. Raises BackendError if a stage failed or none answers."""
    result = pipeline.collect(STEP_SECONDS)
    if result is None:
        raise BackendError(f"no result came back within {STEP_SECONDS:g} seconds; look at the stages' logs")
    if result.error is not None:
        raise BackendError(f"a stage failed while it was measured: {result.error[0]}: {result.error[1]}")
    return result


def summarise(plan: Plan, steps: Sequence[Step]) -> HopReport:
    """Percentiles over `steps` of every hop whose two ends are on one node."""
    names = [DRIVER, *(stage.device.name for stage in plan.stages), DRIVER]
    nodes = ["", *(stage.device.node for stage in plan.stages), ""]
    gaps = np.array([gaps_of(step) for step in steps])
    hops = tuple(
        Hop(source, target, float(np.percentile(column, 50)), float(np.percentile(column, 95)))
        for (source, target), (here, there), column in zip(pairwise(names), pairwise(nodes), gaps.T, strict=True)
        if here == there
    )
    compute = np.array([[trace.ended_at_seconds - trace.started_at_seconds for trace in step.traces] for step in steps])
    whole = [step.collected_at_seconds - step.submitted_at_seconds for step in steps]
    return HopReport(hops, tuple(np.median(compute, axis=0).tolist()), float(np.median(whole)), len(steps))


def gaps_of(step: Step) -> list[float]:
    """Seconds of every hop of a step, from one end of compute to the next start, by the clocks of its two ends."""
    ends = [step.submitted_at_seconds, *(trace.ended_at_seconds for trace in step.traces)]
    starts = [*(trace.started_at_seconds for trace in step.traces), step.collected_at_seconds]
    return [start - end for end, start in zip(ends, starts, strict=True)]
