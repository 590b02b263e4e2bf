"""What a given plan comes to, counted from the definition: the one place that says what each objective means.

Knows the cost tables; searches nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from placement.contention import contended_pairs, slow_down
from placement.costs import CostModel, Metric
from placement.problem import Bounds, Objective
from placement.steps import batch_of


@dataclass(frozen=True, slots=True)
class LaneStage:
    """Blocks [first, last) in the lane of this index."""

    lane: int
    first: int
    last: int


@dataclass(frozen=True, slots=True)
class Parts:
    """What a metric gives the stages of one plan, and its links: host to first, between stages, last to host."""

    stages: tuple[float, ...]
    links: tuple[float, ...]

    @property
    def total(self) -> float:
        return sum(self.stages) + sum(self.links)

    @property
    def largest(self) -> float:
        return max(*self.stages, *self.links)


@dataclass(frozen=True, slots=True)
class Values:
    """A plan's figures, each the smaller the better; `load` is what keeps every stage and link busy for a request."""

    latency_seconds: float
    first_token_seconds: float
    seconds_per_request: float
    energy_joules: float
    load: Parts

    def of(self, objective: Objective) -> float:
        """The figure that the objective makes small."""
        return {
            Objective.LATENCY: self.latency_seconds,
            Objective.FIRST_TOKEN: self.first_token_seconds,
            Objective.THROUGHPUT: self.seconds_per_request,
            Objective.ENERGY: self.energy_joules,
        }[objective]

    def meets(self, bounds: Bounds) -> bool:
        """Whether every bound is kept, up to rounding."""
        slack = 1 + 1e-9
        limits = (
            (self.latency_seconds, bounds.latency_seconds),
            (self.first_token_seconds, bounds.first_token_seconds),
            (self.seconds_per_request, 1 / bounds.requests_per_second if bounds.requests_per_second else None),
            (self.energy_joules, bounds.energy_joules),
        )
        return all(limit is None or value <= limit * slack for value, limit in limits)


def evaluate(costs: CostModel, stages: Sequence[LaneStage]) -> Values:
    """All figures of a plan, legal or not.

    Requests in flight are `concurrency`, spread over as many batches as stages: a request's period is the largest load
    of a stage or link, or by Little's law its residence over the requests in flight, if that is more. A single request
    in flight never has two devices at work at once, so that nothing contends.
    """
    traffic = costs.problem.traffic
    latency, first = parts_of(costs, costs.latency, stages), parts_of(costs, costs.first_token, stages)
    batch = traffic.batch_sequences or batch_of(traffic, len(stages))
    factors = contention_factors(costs, stages)
    busy = parts_of(costs, costs.load(batch), stages, factors)
    alone = parts_of(costs, costs.first_token, stages, factors)
    period = max(busy.largest, costs.stays(batch, busy.total, alone.total) / requests_in_flight(costs))
    energy = parts_of(costs, costs.energy, stages).total if costs.problem.power else float("inf")
    return Values(latency.total, first.total, period, energy, busy)


def requests_in_flight(costs: CostModel) -> float:
    """How many requests share the pipeline: without end where only the size of a batch is given."""
    traffic = costs.problem.traffic
    return float("inf") if traffic.batch_sequences else float(traffic.concurrency)


def contention_factors(costs: CostModel, stages: Sequence[LaneStage]) -> Sequence[float]:
    """How many times longer each stage takes because others work at the same time."""
    devices = [costs.lanes[stage.lane].device for stage in stages]
    pairs = contended_pairs(costs.contention, devices) if requests_in_flight(costs) > 1 else []
    factors = slow_down(costs.contention, pairs)
    return [float(factors[device]) for device in devices]


def parts_of(
    costs: CostModel, metric: Metric, stages: Sequence[LaneStage], factors: Sequence[float] | None = None
) -> Parts:
    """What the metric gives each stage, times its factor, and each link of a plan."""
    host = len(costs.devices)
    ends = [host, *(costs.lanes[stage.lane].device for stage in stages), host]
    cuts = [*(stage.first for stage in stages), costs.block_count]
    links = [float(metric.link[a, b, cut]) for a, b, cut in zip(ends[:-1], ends[1:], cuts, strict=True)]
    seconds = np.array([metric.stage[stage.lane, stage.first, stage.last] for stage in stages])
    scaled = seconds * np.array(factors if factors is not None else np.ones(len(stages)))
    return Parts(tuple(map(float, scaled)), tuple(links))
