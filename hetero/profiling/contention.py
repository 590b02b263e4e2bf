"""How much two devices slow each other down when both work: they may share cores, caches or memory.

Runs the whole model on each, alone and both at once, by turns. Knows neither why they share nor what it costs a plan.
"""

import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from pathlib import Path
from statistics import median

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
        return Contention((options[0].device.name, options[1].device.name), slow_down(one, other, shape, seconds))


def slow_down(one: Pipeline, other: Pipeline, shape: Shape, seconds: float) -> float:
    """Mean over both pipelines of (median step while both run) / (median step alone), at least 1."""
    for pipeline in (one, other):
        for _ in range(WARM_UP_RUNS):
            take_step(pipeline, make_batch(shape))
    each = seconds / (3 * ROUNDS)
    alone: tuple[list[float], list[float]] = ([], [])
    together: tuple[list[float], list[float]] = ([], [])
    with ThreadPoolExecutor(2) as threads:
        for _ in range(ROUNDS):
            for times, pipeline in zip(alone, (one, other), strict=True):
                times += _steps(pipeline, shape, each)
            both = [threads.submit(_steps, pipeline, shape, each) for pipeline in (one, other)]
            for times, future in zip(together, both, strict=True):
                times += future.result()
    ratios = [median(busy) / median(idle) for busy, idle in zip(together, alone, strict=True)]
    return max(1.0, sum(ratios) / len(ratios))


def _steps(pipeline: Pipeline, shape: Shape, seconds: float) -> list[float]:
    """Compute seconds of each step until `seconds` have passed, of one step at least."""
    found: list[float] = []
    until = time.monotonic() + seconds
    while not found or time.monotonic() < until:
        (trace,) = take_step(pipeline, make_batch(shape)).traces
        found.append(trace.ended_at_seconds - trace.started_at_seconds)
    return found
