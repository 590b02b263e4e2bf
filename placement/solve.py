"""The best plans of a problem: every objective, under bounds, masks and contention, exactly.

Latency, time to first token and energy add up over a plan, so that one search answers. Throughput is the largest load
of a stage or link, or the time a request stays over the requests in flight if that is more; the batch that shares a
step depends on the number of stages, so that each number is searched apart. Where devices slow each other down, a
search that ignores it gives a lower bound, and pairs are taken in by branching until the bound is reached.
"""

import heapq
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from itertools import count as counter

import numpy as np
from numpy.typing import NDArray

from placement.bounded import BoundedPlan, solve_bounded
from placement.constraints import RefusalReason
from placement.contention import contended_pairs, slow_down
from placement.costs import CostModel, Metric
from placement.evaluation import LaneStage, evaluate, requests_in_flight
from placement.labels import SLACK, Resource
from placement.lane_tables import LaneTables
from placement.masks import Mask
from placement.period import PeriodQuestion, PeriodSearch
from placement.problem import Bounds, Objective
from placement.room import fewest_devices, least_by_length, longest
from placement.steps import batch_of

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Solution:
    """Plans, the best first and then simpler ones that were found on the way; `proven` is what none can be below."""

    plans: tuple[tuple[LaneStage, ...], ...]
    value: float
    proven: float


@dataclass(frozen=True, slots=True)
class _Case:
    """What one search is of: devices left out, pairs that slow each other down, a number of stages (None: any).

    `penalty` is infinite where a stage is forbidden or none, else 0.
    """

    penalty: Floats
    absent: frozenset[int]
    pairs: frozenset[tuple[int, int]]
    count: int | None
    most: int


class Solver:
    """Answers for one cost model and its masks; keeps nothing between questions but the cost model's tables."""

    def __init__(self, costs: CostModel, masks: Mapping[RefusalReason, Mask]) -> None:
        self.costs, self.masks = costs, masks
        self.device_of = np.array([lane.device for lane in costs.lanes], dtype=np.int64)

    def solve(
        self,
        objective: Objective,
        bounds: Bounds,
        *,
        lifted: Iterable[RefusalReason] = (),
        absent: Iterable[int] = (),
        upper: float = float("inf"),
    ) -> Solution:
        """The best plan without the devices `absent`, as if the reasons `lifted` were none, worth less than `upper`.

        No plans where none is legal.
        """
        free, out = frozenset(lifted), frozenset(absent)
        bounds = Bounds() if RefusalReason.BOUND in free else bounds
        case = _Case(self._penalty(free), out, frozenset(), None, self._most_stages(free))
        best = Solution((), upper, upper)
        for count in self._counts(objective, bounds, case):
            found = self._branch(objective, bounds, replace(case, count=count), best.value)
            proven = min(best.proven, found.proven)
            if found.value < best.value:
                best = Solution((*found.plans, *best.plans), found.value, proven)
            else:
                best = Solution((*best.plans, *found.plans), best.value, proven)
        return best if best.plans else Solution((), float("inf"), float("inf"))

    def _penalty(self, lifted: frozenset[RefusalReason]) -> Floats:
        nothing = np.where(np.tri(self.costs.block_count + 1, dtype=bool), np.inf, 0.0)
        penalty = np.repeat(nothing[None], len(self.costs.lanes), axis=0)
        for reason, refused in self.masks.items():
            if reason not in lifted:
                penalty[refused] = np.inf
        return penalty

    def _most_stages(self, lifted: frozenset[RefusalReason]) -> int:
        most = min(len(self.costs.devices), self.costs.block_count)
        asked = self.costs.problem.constraints.max_stages
        return most if asked is None or RefusalReason.STAGE_COUNT in lifted else min(most, asked)

    def _counts(self, objective: Objective, bounds: Bounds, case: _Case) -> Iterable[int | None]:
        """The numbers of stages that must be searched apart, because the batch of a step depends on them."""
        traffic = self.costs.problem.traffic
        shared = objective is Objective.THROUGHPUT or bounds.requests_per_second is not None
        if shared and traffic.batch_sequences is None and traffic.concurrency > 1:
            return range(self._fewest_stages(case), case.most + 1)
        return (None,)

    def _fewest_stages(self, case: _Case) -> int:
        """How many it takes at least, whatever they cost."""
        most = np.zeros(len(self.costs.devices), dtype=np.int64)
        np.maximum.at(most, self.device_of, longest(least_by_length(case.penalty)))
        most[list(case.absent)] = 0
        return fewest_devices(most, self.costs.block_count)

    def _branch(self, objective: Objective, bounds: Bounds, case: _Case, upper: float) -> Solution:
        """Best first over pairs of devices that slow each other down: without one, without the other, or with both."""
        order, best, proven = counter(), Solution((), upper, upper), upper
        heap = [(0.0, next(order), case)]
        while heap:
            _, _, case = heapq.heappop(heap)
            found = self._search(objective, bounds, case, best.value)
            if not found.plans or found.value >= best.value:
                proven = min(proven, found.proven)
                continue
            true = evaluate(self.costs, found.plans[0])
            if true.meets(bounds) and true.of(objective) < best.value:
                best = Solution(found.plans, true.of(objective), found.proven)
            ignored = true.of(objective) > found.value * SLACK or not true.meets(bounds)
            branches = list(self._branches(case, found.plans[0]) if ignored else ())
            for branch in branches:
                heapq.heappush(heap, (found.proven, next(order), branch))
            # What a search that ignored a pair proved is left to its branches, which prove more.
            proven = proven if branches else min(proven, found.proven)
        return Solution(best.plans, best.value, min(best.value, proven))

    def _branches(self, case: _Case, plan: tuple[LaneStage, ...]) -> Iterable[_Case]:
        used = [int(self.device_of[stage.lane]) for stage in plan]
        if requests_in_flight(self.costs) <= 1:
            return
        for pair in contended_pairs(self.costs.contention, used):
            if pair not in case.pairs:
                yield replace(case, absent=case.absent | {pair[0]})
                yield replace(case, absent=case.absent | {pair[1]})
                yield replace(case, pairs=case.pairs | {pair})
                return

    def _search(self, objective: Objective, bounds: Bounds, case: _Case, upper: float) -> Solution:
        load, residence = self._batched(case)
        cap = 1 / bounds.requests_per_second * SLACK if bounds.requests_per_second else float("inf")
        if objective is Objective.THROUGHPUT:
            resources = self._resources(replace(bounds, requests_per_second=None), residence)
            return self._least_period(case, load, residence, resources, min(upper, cap))
        resources = self._resources(bounds, residence)
        metric = {
            Objective.LATENCY: self.costs.latency,
            Objective.FIRST_TOKEN: self.costs.first_token,
            Objective.ENERGY: self.costs.energy,
        }[objective]
        tables = self._tables(case, metric, load, cap)
        if not resources:
            plans = tuple(tables.least(np.add, count=case.count, upper=upper, most=case.most))
            value = evaluate(self.costs, plans[0]).of(objective) if plans else float("inf")
            return Solution(plans, value, value)
        return _solution(solve_bounded(tables, resources, count=case.count, upper=upper, most=case.most))

    def _batched(self, case: _Case) -> tuple[Metric, Callable[[], Metric]]:
        """(load, residence) for the case's number of stages, slowed down by the pairs that are taken in."""
        traffic = self.costs.problem.traffic
        batch = traffic.batch_sequences or batch_of(traffic, case.count or traffic.concurrency)
        return self._slowed(case, self.costs.load(batch)), lambda: self._slowed(case, self.costs.residence(batch))

    def _slowed(self, case: _Case, metric: Metric) -> Metric:
        if not case.pairs:
            return metric
        factors = slow_down(self.costs.contention, case.pairs)[self.device_of][:, None, None]
        return Metric(metric.stage * factors, metric.link)

    def _resources(self, bounds: Bounds, residence: Callable[[], Metric]) -> list[Resource]:
        """What adds up over a plan and is bounded. Residence bounds throughput where the requests in flight are few."""
        found: list[Resource] = []
        if bounds.latency_seconds is not None:
            found.append(Resource(self.costs.latency, bounds.latency_seconds))
        if bounds.first_token_seconds is not None:
            found.append(Resource(self.costs.first_token, bounds.first_token_seconds))
        if bounds.energy_joules is not None:
            found.append(Resource(self.costs.energy, bounds.energy_joules))
        if bounds.requests_per_second is not None and np.isfinite(requests_in_flight(self.costs)):
            found.append(Resource(residence(), requests_in_flight(self.costs) / bounds.requests_per_second))
        return found

    def _tables(self, case: _Case, metric: Metric, load: Metric, cap: float) -> LaneTables:
        """The metric with what the case forbids, and stages and links of more load than `cap`, made infinite."""
        stage = metric.stage + case.penalty
        if np.isfinite(cap):
            stage[load.stage > cap] = np.inf
        if case.absent:
            stage[np.isin(self.device_of, list(case.absent))] = np.inf
        return LaneTables(self.device_of, Metric(stage, np.where(load.link > cap, np.inf, metric.link)))

    def _least_period(
        self, case: _Case, load: Metric, residence: Callable[[], Metric], resources: list[Resource], upper: float
    ) -> Solution:
        loads = self._tables(case, load, load, float("inf"))
        flight = requests_in_flight(self.costs)
        search = PeriodSearch(PeriodQuestion(loads, residence, flight, resources, case.count, case.most), upper)
        return Solution(search.plans, search.period, search.period if search.exact else search.floor)


def _solution(found: BoundedPlan) -> Solution:
    plans = (found.stages,) if found.stages is not None else ()
    return Solution(plans, found.value, found.proven)
