"""The best contiguous plan of a workload for throughput that the time allows, with a bound.

From all ideals where they are few enough; else from those of some orders, and then of orders near the best plan so far.
"""

import time
from dataclasses import dataclass

from placement.errors import InfeasibleError
from placement.ideals import IDEAL_CAP, enumerate_ideals, solve_contiguous
from placement.lower_bounds import lower_bound
from placement.orders import ideals_near, ideals_of_orders
from placement.workload import Workload

#: Up to so many ideals the exact plan takes so little time that nothing else is tried before.
_FEW_IDEALS = 5_000
#: So many ideals of several orders are looked at, in turn, and so many near the best plan so far.
_ORDER_IDEALS, _NEAR_IDEALS = (1_500, 4_000), 2_000
#: The search near the best plan ends when so many draws in a row did not better it.
_PATIENCE = 12


@dataclass(frozen=True, slots=True)
class ThroughputSolution:
    """`device_of[g]`: accelerators are 0 .. count - 1, CPUs follow."""

    milliseconds: float
    bound_milliseconds: float
    device_of: tuple[int, ...]


def contiguous_plan(workload: Workload, deadline: float, most_ideals: int = IDEAL_CAP) -> ThroughputSolution:
    """The best contiguous plan; where ideals are more than `most_ideals`, or too many for the time, the best found.

    Raises InfeasibleError where none is legal among those looked at.
    """
    few = enumerate_ideals(workload, _FEW_IDEALS)
    known = _of_orders(workload, deadline) if few is None else None
    try:
        ideals = enumerate_ideals(workload, most_ideals) if few is None else few
        if ideals is not None:
            exact = solve_contiguous(workload, ideals, known.milliseconds if known else float("inf"), deadline)
            return ThroughputSolution(exact.max_load_milliseconds, exact.max_load_milliseconds, exact.device_of)
    except TimeoutError:
        known = known or _of_orders(workload, deadline)
    if known is None:
        raise InfeasibleError(
            "no contiguous plan was found along the orders that were tried; give more memory or devices"
        )
    return _nearby(workload, known, deadline)


def _of_orders(workload: Workload, deadline: float) -> ThroughputSolution | None:
    """From the ideals of one order or two, however little time there is, then of as many as there is time for."""
    found = None
    for most in (len(workload.groups), *_ORDER_IDEALS):
        upper, limit = (found.max_load_milliseconds, deadline) if found else (float("inf"), float("inf"))
        try:
            found = solve_contiguous(workload, ideals_of_orders(workload, most=most), upper, limit)
        except (InfeasibleError, TimeoutError):
            continue
    if found is None:
        return None
    value = found.max_load_milliseconds
    return ThroughputSolution(value, lower_bound(workload, value), found.device_of)


def _nearby(workload: Workload, known: ThroughputSolution, deadline: float) -> ThroughputSolution:
    """Better plans among orders near the best one, again and again."""
    value, device_of, idle, seed = known.milliseconds, known.device_of, 0, 0
    while idle < _PATIENCE and time.monotonic() < deadline:
        ideals = ideals_near(workload, device_of, most=_NEAR_IDEALS, seed=seed)
        try:
            found = solve_contiguous(workload, ideals, value, deadline)
        except (InfeasibleError, TimeoutError):
            break
        idle, seed = 0 if found.max_load_milliseconds < value * (1 - 1e-6) else idle + 1, seed + 1
        value, device_of = min((value, device_of), (found.max_load_milliseconds, found.device_of))
    return ThroughputSolution(value, max(known.bound_milliseconds, lower_bound(workload, value)), device_of)
