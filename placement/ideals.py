"""The exact contiguous optimum of a workload's throughput, by a dynamic programme over ideals.

An ideal is a set of groups that holds all predecessors of its members; a contiguous plan is a chain of ideals, each
device taking the difference of two neighbours. Method: Tarnawski et al., "Efficient algorithms for device placement of
DNN graph operators", NeurIPS 2020. The loads of all pairs of ideals come from matrix products (`piece_loads.py`); a
plan that is known bounds them, so that few pairs are left.
"""

import time
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from placement.errors import InfeasibleError
from placement.milp import largest_load
from placement.piece_loads import Pairs, PieceLoads
from placement.workload import Workload

#: Above this many ideals (the authors' own cap) not all are looked at: see `orders.py`.
IDEAL_CAP = 60_000

_BLOCK_ROWS = 256
#: Loads that cannot be are infinite, and so above this.
_LARGEST = float(np.finfo(np.float32).max)

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class ContiguousSolution:
    """`device_of[g]`: the device of group g; accelerators are 0 .. count - 1, CPUs follow. Optimal for its graph."""

    max_load_milliseconds: float
    device_of: tuple[int, ...]
    ideal_count: int


def enumerate_ideals(workload: Workload, cap: int = IDEAL_CAP) -> NDArray[np.bool_] | None:
    """All ideals as rows of a bool matrix [ideals, groups]; None if there are more than `cap`.

    By growing size, and those of one size by their compute, so that neighbours look at the same smaller ones.
    """
    predecessors = [0] * len(workload.groups)
    for source, target in workload.order:
        predecessors[target] |= 1 << source
    level, found = {0}, [0]
    while level:
        level = {
            ideal | 1 << group
            for ideal in level
            for group, needed in enumerate(predecessors)
            if not ideal >> group & 1 and needed & ~ideal == 0
        }
        found += level
        if len(found) > cap:
            return None
    width = (len(predecessors) + 7) // 8
    packed = np.array([np.frombuffer(i.to_bytes(width, "little"), np.uint8) for i in found])
    ideals = np.unpackbits(packed, axis=1, count=len(predecessors), bitorder="little").astype(bool)
    return by_size(workload, ideals)


def by_size(workload: Workload, ideals: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The rows in the order that the programmes want."""
    compute = ideals @ np.array([group.accelerator_milliseconds for group in workload.groups])
    return np.asarray(ideals[np.lexsort((compute, ideals.sum(axis=1)))])


def solve_contiguous(
    workload: Workload, ideals: NDArray[np.bool_], upper_milliseconds: float = np.inf, deadline: float = np.inf
) -> ContiguousSolution:
    """The least maximum load over all contiguous plans whose pieces are differences of `ideals`.

    The first ideal must be empty and the last one full. Only plans of at most `upper_milliseconds` are looked for: what
    is known already shortens the search. Raises InfeasibleError if there is none, TimeoutError if `time.monotonic()`
    passes `deadline`.
    """
    loads = PieceLoads(workload, ideals)
    kinds = (workload.accelerator_count, workload.cpu_count)
    upper = min(upper_milliseconds * (1 + 1e-6), _LARGEST)
    best = np.full((kinds[0] + 1, kinds[1] + 1, len(ideals)), np.inf)
    best[:, :, 0] = 0.0
    for first, last in blocks_of_equal_size(ideals):
        if time.monotonic() > deadline:
            raise TimeoutError(f"{len(ideals)} ideals were too many for the time")
        _relax(best[:, :, first:last], best, loads.pairs(first, last, upper))
    if not np.isfinite(best[kinds[0], kinds[1], -1]):
        raise InfeasibleError(_infeasible_reason(workload))
    device_of = _trace(workload, ideals, best, loads, upper)
    return ContiguousSolution(largest_load(workload, device_of), device_of, len(ideals))


def _relax(target: Floats, best: Floats, pairs: tuple[Pairs, Pairs]) -> None:
    """Fill the block's values: its last device is an accelerator or a CPU."""
    for is_cpu, each in enumerate(pairs):
        if not len(each.larger):
            continue
        starts = np.flatnonzero(np.diff(each.larger, prepend=-1))
        rows = each.larger[starts]
        for a in range(1 - is_cpu, best.shape[0]):
            for c in range(is_cpu, best.shape[1]):
                before = best[a, c - 1] if is_cpu else best[a - 1, c]
                least = np.minimum.reduceat(np.maximum(before[each.smaller], each.load), starts)
                target[a, c, rows] = np.minimum(target[a, c, rows], least)


def blocks_of_equal_size(ideals: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """Row ranges of ideals of one size each, so that no ideal of a range lies within another of it."""
    sizes = ideals.sum(axis=1)
    edges = [0, *(np.flatnonzero(np.diff(sizes)) + 1).tolist(), len(ideals)]
    blocks = []
    for first, last in pairwise(edges[1:]):
        blocks += [(start, min(start + _BLOCK_ROWS, last)) for start in range(first, last, _BLOCK_ROWS)]
    return blocks


def _trace(
    workload: Workload, ideals: NDArray[np.bool_], best: Floats, loads: PieceLoads, upper: float
) -> tuple[int, ...]:
    """The assignment behind the last value: at each ideal the smaller one and the device that give its value."""
    device_of = [0] * len(workload.groups)
    a, c, larger = workload.accelerator_count, workload.cpu_count, len(ideals) - 1
    while larger:
        on_accelerator, on_cpu = loads.pairs(larger, larger + 1, upper)
        options = [(_least(best[a - 1, c], on_accelerator), 0)] if a else []
        options += [(_least(best[a, c - 1], on_cpu), 1)] if c else []
        (_, smaller), is_cpu = min(options)
        device = workload.accelerator_count + c - 1 if is_cpu else a - 1
        for group in np.flatnonzero(ideals[larger] & ~ideals[smaller]):
            device_of[group] = device
        a, c, larger = a - (not is_cpu), c - is_cpu, smaller
    return tuple(device_of)


def _least(before: Floats, pairs: Pairs) -> tuple[float, int]:
    value = np.maximum(before[pairs.smaller], pairs.load)
    if not len(value):
        return float("inf"), 0
    place = int(value.argmin())
    return float(value[place]), int(pairs.smaller[place])


def _infeasible_reason(workload: Workload) -> str:
    if workload.accelerator_count == 0 and workload.cpu_count == 0:
        return "there is no device: give --devices 1 or more"
    return (
        f"no contiguous plan fits: {workload.accelerator_count} accelerators of {workload.accelerator_bytes:.4g} bytes "
        f"and {workload.cpu_count} CPUs for {sum(g.size_bytes for g in workload.groups):.4g} bytes"
    )
