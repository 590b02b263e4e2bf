"""Least sum over a chain while other sums stay within bounds: multipliers first, then labels, which are exact.

Where the labels grow past their limit the best plan that multipliers found is returned with the bound they proved.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from placement.costs import Metric
from placement.evaluation import LaneStage
from placement.labels import SLACK, LabelSearch, Resource
from placement.lane_tables import LaneTables, total

_MULTIPLIER_STEPS = 24


@dataclass(frozen=True, slots=True)
class BoundedPlan:
    """A plan, None if there is none, its sum, and what no plan can be below."""

    stages: tuple[LaneStage, ...] | None
    value: float
    proven: float


def solve_bounded(
    tables: LaneTables, resources: Sequence[Resource], *, count: int | None, upper: float, most: int
) -> BoundedPlan:
    """The least sum under every resource's bound, among plans of `count` stages, worth less than `upper`."""
    plans = tables.least(np.add, count=count, upper=upper, most=most)
    if not plans:
        return BoundedPlan(None, float("inf"), upper)
    value = total(tables, tables.metric, plans[0])
    if _keeps(tables, resources, plans[0]):
        return BoundedPlan(plans[0], value, value)
    known = _by_multipliers(tables, resources, count, upper, most)
    search = LabelSearch(tables, resources, count, min(upper, known.value), most)
    exact = search.run()
    if not search.finished:
        return BoundedPlan(known.stages, known.value, max(value, known.proven))
    if exact is None:
        return BoundedPlan(known.stages, known.value, known.value)
    value = total(tables, tables.metric, exact)
    return BoundedPlan(exact, value, value)


def _keeps(tables: LaneTables, resources: Sequence[Resource], stages: Sequence[LaneStage]) -> bool:
    return all(total(tables, each.metric, stages) <= each.bound * SLACK for each in resources)


def _by_multipliers(
    tables: LaneTables, resources: Sequence[Resource], count: int | None, upper: float, most: int
) -> BoundedPlan:
    """Bisection on one multiplier for all bounds, each weighted by its size: a plan that keeps them, and a bound."""
    best, proven = BoundedPlan(None, float("inf"), 0.0), 0.0
    low, high = 0.0, None
    multiplier = 1.0
    for _ in range(_MULTIPLIER_STEPS):
        combined, spared = _combined(tables, resources, multiplier)
        plans = combined.least(np.add, count=count, upper=float("inf"), most=most)
        if not plans:
            break
        proven = max(proven, total(combined, combined.metric, plans[0]) - spared)
        value = total(tables, tables.metric, plans[0])
        if _keeps(tables, resources, plans[0]):
            high = multiplier
            if value < min(best.value, upper):
                best = BoundedPlan(plans[0], value, proven)
        else:
            low = multiplier
        multiplier = low * 8 + 1 if high is None else (low + high) / 2
    return BoundedPlan(best.stages, best.value, proven)


def _combined(tables: LaneTables, resources: Sequence[Resource], multiplier: float) -> tuple[LaneTables, float]:
    """The sum plus multiplier times each resource over its bound, in the sum's own size; and what the bounds spare."""
    finite = tables.metric.stage[np.isfinite(tables.metric.stage)]
    scale = multiplier * float(np.median(finite)) if finite.size else multiplier
    metric = tables.metric
    for each in resources:
        extra = each.metric * (scale / each.bound)
        metric = Metric(metric.stage + extra.stage, metric.link + extra.link)
    return LaneTables(tables.device_of_lane, metric), scale * len(resources)
