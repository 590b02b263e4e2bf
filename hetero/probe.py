"""Whether a plan of several stages keeps what it promised: run against the best single device, it stays or is dropped.

Knows how to drive a started plan; keeps the winner running and closes the other.
"""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from statistics import median

from hetero.automatic import Proposal
from hetero.backends.base import KvSpec
from hetero.capacity import blocks_for
from hetero.errors import HeteroError
from hetero.models.config import ModelConfig
from hetero.pipeline.base import Pipeline
from hetero.placing import Goal
from hetero.profiling.driving import Ride, requests_per_second, ride
from placement import Plan, format_plan
from placement.problem import Objective, Traffic

RIDES = 5
WARM_UP_RIDES = 1
THROUGHPUT_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Running:
    """A started plan: its pipeline, and the KV cache that its stages hold."""

    plan: Plan
    pipeline: Pipeline
    kv: KvSpec | None


@dataclass(frozen=True, slots=True)
class Trial:
    """What a plan came to: the objective's figure in seconds, infinite where it failed, and then why."""

    plan: Plan
    seconds: float
    failure: str = ""

    def __str__(self) -> str:
        said = f"failed ({self.failure})" if self.failure else f"{self.seconds * 1000:.1f} ms"
        return f"{format_plan(self.plan)} {said}"


Start = Callable[[Plan], Running]

#: What the objective makes small of a started plan, in seconds.
Measure = Callable[[Running], float]


def settle(
    start: Start, proposal: Proposal, rival: Plan, config: ModelConfig, measure: Measure | None = None
) -> Running:
    """Measure `rival`, a single device, and then the proposed plan; the faster is left running, of equals the rival.

    They run one after the other, for both might not fit at once. The winner's plan says both numbers as its reason. A
    proposed plan that fails while it is tried has lost. Raises what starting or running the rival raises. `measure`
    is by requests as the goal has them, unless another is given.
    """
    by = measure or partial(_measure, config=config, goal=proposal.goal)
    alone, _ = _try(start, rival, by, 0.0)
    trial, running = _attempt(start, proposal.plan, by, alone.seconds)
    reason = _reason(trial, alone, proposal.goal.objective)
    won = running or start(rival)
    return replace(won, plan=replace(won.plan, reason=f"{reason}; {format_plan(won.plan)} is used"))


def _attempt(start: Start, plan: Plan, measure: Measure, limit_seconds: float) -> tuple[Trial, Running | None]:
    try:
        return _try(start, plan, measure, limit_seconds)
    except HeteroError as error:
        return Trial(plan, float("inf"), str(error)), None


def _try(start: Start, plan: Plan, measure: Measure, limit_seconds: float) -> tuple[Trial, Running | None]:
    """The plan's figure; it is left running where that is below the limit."""
    with ExitStack() as undo:
        running = start(plan)
        undo.callback(running.pipeline.close)
        seconds = measure(running)
        if seconds >= limit_seconds:
            return Trial(plan, seconds), None
        undo.pop_all()
        return Trial(plan, seconds), running


def _measure(running: Running, config: ModelConfig, goal: Goal) -> float:
    traffic = _within(goal.traffic, running.kv)
    if goal.objective is Objective.THROUGHPUT:
        return 1 / requests_per_second(running.pipeline, config, traffic, THROUGHPUT_SECONDS)
    rides = [ride(running.pipeline, config, traffic) for _ in range(WARM_UP_RIDES + RIDES)]
    return figure_of(rides[WARM_UP_RIDES:], goal.objective)


def figure_of(rides: Sequence[Ride], objective: Objective) -> float:
    """The median seconds of requests alone: to the first token, or to the last."""
    if objective is Objective.FIRST_TOKEN:
        return median(each.first_token_seconds for each in rides)
    return median(each.request_seconds for each in rides)


def _within(traffic: Traffic, kv: KvSpec | None) -> Traffic:
    """So many requests at once as the KV cache holds."""
    if kv is None:
        return traffic
    room = min(kv.max_sequences, kv.block_count // blocks_for(traffic.longest_tokens))
    return replace(traffic, concurrency=max(1, min(traffic.concurrency, room)))


def _reason(trial: Trial, alone: Trial, objective: Objective) -> str:
    units = {Objective.THROUGHPUT: "a request at full load", Objective.FIRST_TOKEN: "to the first token"}
    return f"measured {units.get(objective, 'a request')}: {trial}, {alone} as the best single device"
