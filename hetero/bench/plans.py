"""Measures plans through real actors and holds them against what was predicted.

Each plan's pipeline is started anew in every round and driven through whole requests. Knows pipelines and predictions;
knows neither terminals nor how plans are chosen.
"""

from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from hetero.bench.hops import Step
from hetero.bench.plan_errors import Pair
from hetero.models.config import ModelConfig
from hetero.pipeline.actor import ActorPipeline
from hetero.profiling.driving import Ride, kv_of, ride, seconds_of
from placement.figures import Figures
from placement.problem import Traffic
from placement.types import Plan

WARM_UP_RIDES = 2

#: Called with plans done, their number, and the plan that is measured now.
Tell = Callable[[int, int, Plan], None]


@dataclass(slots=True)
class Measured:
    """One plan's rides so far."""

    plan: Plan
    rides: list[Ride] = field(default_factory=list)

    @property
    def request_seconds(self) -> float:
        """The medians of prompts, and of all decode steps as often as a request has them."""
        tokens = [seconds_of(step) for each in self.rides for step in each.decode]
        return self.first_token_seconds + (self.rides[0].decode_count * median(tokens) if tokens else 0.0)

    @property
    def first_token_seconds(self) -> float:
        return median(each.first_token_seconds for each in self.rides)

    @property
    def prompt_stage_seconds(self) -> tuple[float, ...]:
        """Median compute of each stage over a prompt's steps."""
        each = [[sum(of) for of in zip(*map(stage_seconds, one.prompt), strict=True)] for one in self.rides]
        return tuple(median(of) for of in zip(*each, strict=True))

    @property
    def token_stage_seconds(self) -> tuple[float, ...]:
        """Median compute of each stage for a decoded token; empty where none is decoded."""
        each = [stage_seconds(step) for one in self.rides for step in one.decode]
        return tuple(median(of) for of in zip(*each, strict=True))


def stage_seconds(step: Step) -> tuple[float, ...]:
    """Each stage's compute in one step."""
    return tuple(trace.ended_at_seconds - trace.started_at_seconds for trace in step.traces)


def measure_round(
    folder: Path, config: ModelConfig, plans: Sequence[Measured], traffic: Traffic, rides: int, tell: Tell
) -> None:
    """`rides` more requests on each of `plans`. Raises BackendError where a stage fails."""
    for place, measured in enumerate(plans):
        tell(place, len(plans), measured.plan)
        measured.rides += _rides(folder, config, measured.plan, traffic, rides)


def _rides(folder: Path, config: ModelConfig, plan: Plan, traffic: Traffic, rides: int) -> list[Ride]:
    with closing(ActorPipeline(folder, plan, kv_of(config, traffic))) as pipeline:
        every = [ride(pipeline, config, traffic) for _ in range(WARM_UP_RIDES + rides)]
    return every[WARM_UP_RIDES:]


def stage_pairs(predicted: Figures, measured: Measured) -> list[Pair]:
    """Each stage's compute, in the prompt and, where tokens are decoded, in decoding."""
    prompts = zip([stage.prompt_seconds for stage in predicted.stages], measured.prompt_stage_seconds, strict=True)
    # Without decode steps the measured side is empty.
    tokens = zip([stage.token_seconds for stage in predicted.stages], measured.token_stage_seconds, strict=False)
    return [Pair(one, other) for one, other in (*prompts, *tokens)]


def request_pair(predicted: Figures, measured: Measured) -> Pair:
    """A whole request alone."""
    return Pair(predicted.latency_seconds, measured.request_seconds)
