"""Throughput of a workload graph, as good as the time allows: contiguous first, then any assignment, with a bound.

Contiguous plans come from all ideals where they are few enough and else from those of some orders. Non-contiguous ones
come from annealing, which starts there, and from the mixed-integer programme, which is told what is known and proves.
"""

import time
from dataclasses import dataclass

import numpy as np

from placement.errors import InfeasibleError, WorkloadError
from placement.ideals import IDEAL_CAP, enumerate_ideals, solve_contiguous
from placement.local_search import improve
from placement.lower_bounds import lower_bound
from placement.milp import solve_non_contiguous
from placement.orders import ideals_of_orders
from placement.workload import Workload

#: A non-contiguous plan this close to its bound is not improved further.
CLOSE = 1e-3
#: Up to so many ideals the exact contiguous plan is a cheap start for a non-contiguous one.
_FEW_IDEALS = 5_000
#: Shares of the time: annealing at first, and the programme.
_FIRST, _PROGRAMME = 0.3, 0.5


@dataclass(frozen=True, slots=True)
class ThroughputSolution:
    """`device_of[g]`: accelerators are 0 .. count - 1, CPUs follow."""

    milliseconds: float
    bound_milliseconds: float
    device_of: tuple[int, ...]


def contiguous_plan(workload: Workload, deadline: float) -> ThroughputSolution:
    """The best contiguous plan, or the best found where ideals are too many for all, or for the time.

    Raises InfeasibleError where none is legal among those looked at.
    """
    known = _of_orders(workload)
    upper = known.milliseconds if known else float("inf")
    try:
        ideals = enumerate_ideals(workload, IDEAL_CAP)
        if ideals is not None:
            exact = solve_contiguous(workload, ideals, upper, deadline)
            return ThroughputSolution(exact.max_load_milliseconds, exact.max_load_milliseconds, exact.device_of)
    except TimeoutError:
        pass  # what the orders gave stands, with its bound
    if known is None:
        raise InfeasibleError(
            "no contiguous plan was found along the orders that were tried; give more memory or devices"
        )
    return known


def _of_orders(workload: Workload) -> ThroughputSolution | None:
    try:
        found = solve_contiguous(workload, ideals_of_orders(workload))
    except InfeasibleError:
        return None
    value = found.max_load_milliseconds
    return ThroughputSolution(value, lower_bound(workload, value), found.device_of)


def any_plan(free: Workload, start: tuple[int, ...] | None, deadline: float) -> ThroughputSolution:
    """The best plan found by `deadline`, contiguous or not, from the assignment `start` if there is one.

    Raises InfeasibleError where no plan is legal, WorkloadError where the time ran out before any was found.
    """
    if start is None:
        return _from_programme(free, deadline)
    seconds = max(0.0, deadline - time.monotonic())
    value, device_of = improve(free, start, 0.0)
    bound = lower_bound(free, value)
    value, device_of = improve(free, device_of, _FIRST * seconds, enough=bound / (1 - CLOSE), patience=True)
    bound = max(bound, lower_bound(free, value))
    if _is_close(value, bound):
        return ThroughputSolution(value, bound, device_of)
    proven = solve_non_contiguous(free, value, max(0.1, _PROGRAMME * seconds))
    bound = max(bound, proven.bound_milliseconds)
    if proven.device_of is not None and proven.max_load_milliseconds < value:
        value, device_of = proven.max_load_milliseconds, proven.device_of
    if not _is_close(value, bound):
        left = deadline - time.monotonic()
        value, device_of = improve(free, device_of, left, enough=bound / (1 - CLOSE), seed=1)
    return ThroughputSolution(value, min(bound, value), device_of)


def _is_close(value: float, bound: float) -> bool:
    return value - bound <= CLOSE * value


def _from_programme(free: Workload, deadline: float) -> ThroughputSolution:
    limit = max(0.1, deadline - time.monotonic())
    found = solve_non_contiguous(free, float("inf"), limit)
    if found.device_of is None:
        raise WorkloadError(f"no plan was found within {limit:.3g} s; give a larger --time-limit")
    return ThroughputSolution(found.max_load_milliseconds, found.bound_milliseconds, found.device_of)


def start_for(workload: Workload, free: Workload, deadline: float) -> tuple[int, ...] | None:
    """A contiguous assignment in terms of the groups of `free`, which are not contracted; None if none was found."""
    ideals = enumerate_ideals(workload, _FEW_IDEALS)
    try:
        found = solve_contiguous(workload, ideals_of_orders(workload) if ideals is None else ideals, deadline=deadline)
    except (InfeasibleError, TimeoutError):
        return None
    device_of = {n: d for group, d in zip(workload.groups, found.device_of, strict=True) for n in group.node_ids}
    return tuple(int(np.int64(device_of[group.node_ids[0]])) for group in free.groups)
