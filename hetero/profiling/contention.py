"""How much two devices slow each other down when both work: they may share cores, caches or memory.

Runs the whole model on each, alone and both at once, by turns. Knows neither why they share nor what it costs a plan.
"""

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from pathlib import Path
from statistics import mean, median

from hetero.bench.hops import take_step
from hetero.models.config import ModelConfig
from hetero.pipeline.actor import ActorPipeline
from hetero.pipeline.base import Pipeline
from hetero.profiling.batches import Shape, kv_for, make_batch
from hetero.profiling.options import Option
from placement.profiles import Contention

ROUNDS = 3
WARM_UP_RUNS = 3


def measure_contention(
    folder: Path, config: ModelConfig, options: tuple[Option, Option], shape: Shape, seconds: float
) -> Contention:
    """The factor for two options' devices, over about `seconds` once both run. Raises BackendError as stages do."""
    whole = (0, config.block_count)
    with ExitStack() as stack:
        one, other = (
            stack.enter_context(closing(ActorPipeline(folder, option.plan(whole), kv_for((shape,), config))))
            for option in options
        )
        turns = take_turns((one, other), shape, seconds)
        return Contention((options[0].device.name, options[1].device.name), slow_down(turns))


@dataclass(frozen=True, slots=True)
class Turns:
    """Compute seconds of one pipeline's steps, alone and while the other one ran."""

    alone: list[float] = field(default_factory=list)
    together: list[float] = field(default_factory=list)


def take_turns(pipelines: tuple[Pipeline, Pipeline], shape: Shape, seconds: float) -> tuple[Turns, Turns]:
    """Each alone and then both at once, again and again, over about `seconds`."""
    turns = (Turns(), Turns())
    for pipeline in pipelines:
        for _ in range(WARM_UP_RUNS):
            take_step(pipeline, make_batch(shape))
    each = seconds / (3 * ROUNDS)
    with ThreadPoolExecutor(2) as threads:
        for _ in range(ROUNDS):
            for turn, pipeline in zip(turns, pipelines, strict=True):
                turn.alone.extend(_steps(pipeline, shape, each))
            both = [threads.submit(_steps, pipeline, shape, each) for pipeline in pipelines]
            for turn, future in zip(turns, both, strict=True):
                turn.together.extend(future.result())
    return turns


def slow_down(turns: Sequence[Turns]) -> float:
    """Mean over the pipelines of (median step while both run) / (median step alone), at least 1."""
    return max(1.0, mean(median(turn.together) / median(turn.alone) for turn in turns))


def _steps(pipeline: Pipeline, shape: Shape, seconds: float) -> list[float]:
    """Compute seconds of each step until `seconds` have passed, of one step at least."""
    found: list[float] = []
    until = time.monotonic() + seconds
    while not found or time.monotonic() < until:
        (trace,) = take_step(pipeline, make_batch(shape)).traces
        found.append(trace.ended_at_seconds - trace.started_at_seconds)
    return found
