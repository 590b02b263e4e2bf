"""The least period of a pipeline: the larger of its largest load and its residence over the requests in flight.

The first alone is a search for the least maximum, the second, under a cap on the loads, one for the least sum. A plan's
period lies at the cap where the two meet, which bisection finds; a last search proves that none is below.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from placement.bounded import solve_bounded
from placement.costs import Metric
from placement.evaluation import LaneStage
from placement.labels import SLACK, Resource
from placement.lane_tables import LaneTables
from placement.room import least_total

_MOST_STEPS = 60


@dataclass(frozen=True, slots=True)
class PeriodQuestion:
    """Loads with what is forbidden made infinite; `in_flight` may be infinite; plans of `count` stages (None: any).

    `residence` makes a table that most questions are answered without.
    """

    load: LaneTables
    residence: Callable[[], Metric]
    in_flight: float
    resources: Sequence[Resource]
    count: int | None
    most: int


class PeriodSearch:
    """One search; afterwards `plans` (the best first, then simpler ones) and the first one's `period`.

    No plan is below `floor`, and none below `period` where the search was `exact`.
    """

    def __init__(self, question: PeriodQuestion, upper: float) -> None:
        self.question, self.period, self.floor = question, upper, upper
        self.exact = True
        self._last: tuple[float, LaneTables] | None = None
        self.plans: tuple[tuple[LaneStage, ...], ...] = ()
        self._simpler: Sequence[tuple[LaneStage, ...]] = ()
        if question.load.floor(question.count or question.most) < upper and self._may_stay(upper, upper):
            self._simpler = question.load.least_largest(count=question.count, upper=upper, most=question.most)
        if self._simpler:
            self.floor = self._largest(self._simpler[0])
            self._run(upper)

    def _run(self, upper: float) -> None:
        if self._settle(self.floor * SLACK) <= self.floor * SLACK:
            return
        shortest = self._settle(upper)
        low = max(self.floor, shortest)
        for _ in range(_MOST_STEPS):
            if not np.isfinite(shortest) or self.period <= low * SLACK or self._is_proven():
                return
            cap = (low + self.period) / 2
            if self._settle(cap) > cap:
                low = cap

    def _is_proven(self) -> bool:
        """Whether no plan whose loads are all below the period stays short enough."""
        below = self.period / SLACK
        return self._settle(below) >= below

    def _settle(self, cap: float) -> float:
        """The least residence over the requests in flight, no load above `cap`; keeps the plan if it is the best.

        Infinite where none would make a shorter period than the best one's.
        """
        asked = self.question
        upper = self.period * asked.in_flight if np.isfinite(self.period) else float("inf")
        if not self._may_stay(cap, self.period):
            return float("inf")
        found = solve_bounded(self._capped(cap), asked.resources, count=asked.count, upper=upper, most=asked.most)
        if found.stages is None:
            return float("inf")
        self.exact &= found.proven >= found.value / SLACK
        stays = found.value / asked.in_flight
        period = max(self._largest(found.stages), stays)
        if period < self.period:
            self.plans, self.period = (found.stages, *self._simpler[1:]), period
        return stays

    @cached_property
    def _residence(self) -> Metric:
        return self.question.residence()

    def _may_stay(self, cap: float, period: float) -> bool:
        """Whether a bound leaves it open that a plan of so many stages stays short enough for a shorter period."""
        asked = self.question
        if asked.count is None or not np.isfinite(asked.in_flight * period):
            return True
        return least_total(self._capped(cap).by_length, asked.count) < asked.in_flight * period

    def _capped(self, cap: float) -> LaneTables:
        if self._last is not None and self._last[0] == cap:
            return self._last[1]
        load, residence = self.question.load.metric, self._residence
        limit = min(cap, np.finfo(float).max)  # what is forbidden has an infinite load
        stage = np.where(load.stage <= limit, residence.stage, np.inf)
        link = np.where(load.link <= limit, residence.link, np.inf)
        self._last = cap, LaneTables(self.question.load.device_of_lane, Metric(stage, link))
        return self._last[1]

    def _largest(self, stages: Sequence[LaneStage]) -> float:
        """The largest load of any stage or link of a plan."""
        load, host = self.question.load, self.question.load.metric.link.shape[0] - 1
        parts, before = [], host
        for stage in stages:
            device = int(load.device_of_lane[stage.lane])
            parts.append(float(load.metric.link[before, device, stage.first]))
            parts.append(float(load.metric.stage[stage.lane, stage.first, stage.last]))
            before = device
        return max(*parts, float(load.metric.link[before, host, -1]))
