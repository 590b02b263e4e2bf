"""Throughput of a workload graph by any plan, contiguous or not, as good as the time allows, with a bound.

Plans come from annealing, which starts at a contiguous one, and from the mixed-integer programme, which is told what is
known and proves.
"""

import time

from placement.errors import InfeasibleError, WorkloadError
from placement.graph_contiguous import ThroughputSolution, contiguous_plan
from placement.local_search import improve
from placement.lower_bounds import lower_bound
from placement.milp import solve_non_contiguous
from placement.workload import Workload

#: A non-contiguous plan this close to its bound is not improved further.
CLOSE = 1e-3
#: Shares of the time: finding a start, annealing at first, and the programme.
_START, _FIRST, _PROGRAMME = 0.25, 0.3, 0.5


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
    soon = time.monotonic() + _START * max(0.0, deadline - time.monotonic())
    try:
        found = contiguous_plan(workload, soon).device_of
    except InfeasibleError:
        return None
    device_of = {n: d for group, d in zip(workload.groups, found, strict=True) for n in group.node_ids}
    return tuple(device_of[group.node_ids[0]] for group in free.groups)
