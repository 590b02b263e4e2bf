"""How long segments of a model take on one device, by one engine, at one precision, and what memory they grow by.

Runs the segments as the stages of a pipeline, each in the process that serving would give it, one batch at a time, and
reads the stages' own traces. Knows neither which options there are nor what a time is good for.
"""

import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from hetero.backends.base import KvSpec, SliceReport
from hetero.bench.hops import Step, take_step
from hetero.models.config import DecoderConfig, ModelConfig
from hetero.pipeline.actor import ActorPipeline
from hetero.pipeline.base import Pipeline
from hetero.profiling.batches import Shape, kv_for, make_batch
from hetero.profiling.links import host_links
from hetero.profiling.options import Option
from placement.profiles import LinkTime, SegmentMemory, SegmentTime
from placement.types import Plan

MIN_ROUNDS = 3
#: Of many repeats about so many are kept, evenly over the time.
KEPT_REPEATS = 50
MAX_ROUNDS = 50
#: Decode steps in one turn. At first some are not timed: after a prompt the caches hold other things.
UNTIMED_STEPS, TIMED_STEPS = 8, 16
#: A turn of slow steps has fewer of each kind, one at least.
UNTIMED_SECONDS, TIMED_SECONDS = 0.3, 0.5
#: A stage of static shape keeps every slot at full context, so few are asked for.
STATIC_SLOTS = 4

_CONTEXT_TOKENS = 64
_LONG_CONTEXT_TOKENS = 448


@dataclass(frozen=True, slots=True)
class Found:
    """Times and memory of the segments of one option, and on the way its device's links from and to the host."""

    times: tuple[SegmentTime, ...]
    memory: tuple[SegmentMemory, ...]
    links: tuple[LinkTime, ...]


def shapes_for(config: ModelConfig, static: bool, context_tokens: int) -> tuple[Shape, ...]:
    """Batches to measure, the most telling first; all within `context_tokens`."""
    if not isinstance(config, DecoderConfig):
        lengths = [min(length, context_tokens) for length in (32, 128, 128, 512, 32)]
        rows = (1, 1, 8, 1, 16)
        return _distinct(Shape("encode", row * length, length) for row, length in zip(rows, lengths, strict=True))
    short, long = (min(tokens, context_tokens - 1) for tokens in (_CONTEXT_TOKENS, _LONG_CONTEXT_TOKENS))
    decodes = [Shape("decode", count, short) for count in ((1, 4) if static else (1, 4, 16))]
    one, *more = decodes
    sizes = (64, 256, 16, 128, 512)
    first, *rest = (Shape("prefill", min(tokens, context_tokens)) for tokens in sizes)
    return _distinct((one, first, Shape("decode", 1, long), *more, *rest))


def _distinct(shapes: Iterator[Shape] | Sequence[Shape]) -> tuple[Shape, ...]:
    return tuple(dict.fromkeys(shapes))


def measure_segments(
    folder: Path,
    config: ModelConfig,
    option: Option,
    ranges: Sequence[tuple[int, int]],
    shapes: Sequence[Shape],
    context_tokens: int,
    seconds: float,
) -> Found:
    """Measure `ranges` as stages of one pipeline, for about `seconds` once they are started.

    Shapes for which there is no time are left out, but never the first. Raises BackendError where the engine refuses,
    or fails on a batch.
    """
    plan = option.plan(*ranges)
    kv = _kv(option, shapes, config, context_tokens)
    with closing(ActorPipeline(folder, plan, kv)) as pipeline:
        memory = tuple(_memory(option, *of, report, kv) for of, report in zip(ranges, pipeline.reports, strict=True))
        taken = run_shapes(pipeline, shapes, time.monotonic() + seconds)
    kept = {shape: steps[:: max(1, len(steps) // KEPT_REPEATS)] for shape, steps in taken.items()}
    links = (host_links(option.device, config.hidden_size, *each) for each in kept.items())
    return Found(tuple(_times(plan, kept)), memory, tuple(chain.from_iterable(links)))


def _kv(option: Option, shapes: Sequence[Shape], config: ModelConfig, context_tokens: int) -> KvSpec | None:
    least = kv_for(tuple(shapes), config)
    if least is None:
        return None
    slots = STATIC_SLOTS if option.device.static_shapes else least.max_sequences
    return KvSpec(least.block_count, least.block_tokens, slots, context_tokens)


def run_shapes(pipeline: Pipeline, shapes: Sequence[Shape], until_seconds: float) -> dict[Shape, list[Step]]:
    """Steps of each shape on an idle pipeline, until `time.monotonic` `until_seconds`.

    Shapes take turns, so that a disturbance hits them alike; and each comes as in serving, for an engine takes longer
    when a batch has another shape than the one before: a decode step after its like, a prompt after a decode step.
    """
    warm = list(_warm_up(pipeline, shapes, until_seconds))
    taken: dict[Shape, list[Step]] = defaultdict(list)
    for number in range(MAX_ROUNDS):
        for shape in warm:
            if number < MIN_ROUNDS or time.monotonic() < until_seconds:
                taken[shape] += _turn(pipeline, shape)
    return taken


def _turn(pipeline: Pipeline, shape: Shape) -> list[Step]:
    """The timed steps of one turn; untimed ones make what comes before them what it is in serving."""
    if shape.phase == "prefill":
        take_step(pipeline, make_batch(Shape("decode", 1, shape.context_tokens)))
    if shape.phase != "decode":
        return [take_step(pipeline, make_batch(shape))]
    take_step(pipeline, make_batch(Shape("prefill", min(_CONTEXT_TOKENS, shape.longest))))
    _several(pipeline, shape, UNTIMED_STEPS, UNTIMED_SECONDS)
    return _several(pipeline, shape, TIMED_STEPS, TIMED_SECONDS)


def _warm_up(pipeline: Pipeline, shapes: Sequence[Shape], until_seconds: float) -> Iterator[Shape]:
    """The shapes for which there is time; an engine may compile for each when it first comes."""
    for shape in shapes:
        if shape is shapes[0] or time.monotonic() < until_seconds:
            _several(pipeline, shape, UNTIMED_STEPS, UNTIMED_SECONDS)
            yield shape


def _several(pipeline: Pipeline, shape: Shape, count: int, seconds: float) -> list[Step]:
    """`count` steps, or as many as begin within `seconds`, but one at least."""
    steps = [take_step(pipeline, make_batch(shape))]
    until = steps[0].submitted_at_seconds + seconds
    while len(steps) < count and time.monotonic() < until:
        steps.append(take_step(pipeline, make_batch(shape)))
    return steps


def _times(plan: Plan, taken: dict[Shape, list[Step]]) -> Iterator[SegmentTime]:
    for shape, steps in taken.items():
        for index, stage in enumerate(plan.stages):
            traces = [step.traces[index] for step in steps]
            yield SegmentTime(
                stage.device.name,
                stage.engine,
                stage.precision,
                shape.phase,
                stage.first,
                stage.last,
                shape.tokens,
                shape.context_tokens,
                tuple(trace.ended_at_seconds - trace.started_at_seconds for trace in traces),
            )


def _memory(option: Option, first: int, last: int, report: SliceReport, kv: KvSpec | None) -> SegmentMemory:
    tokens = kv.block_count * kv.block_tokens if kv else 0
    if kv and option.device.static_shapes:
        tokens = kv.max_sequences * kv.max_context
    return SegmentMemory(
        option.device.name,
        option.engine,
        option.precision,
        first,
        last,
        report.weight_bytes,
        round(report.kv_bytes / tokens) if tokens else 0,
        max(0, report.resident_bytes - report.weight_bytes),
    )
