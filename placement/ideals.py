"""The exact contiguous optimum of a workload's throughput, by a dynamic programme over ideals.

An ideal is a set of groups that holds all predecessors of its members; a contiguous plan is a chain of ideals, each
device taking the difference of two neighbours. Method: Tarnawski et al., "Efficient algorithms for device placement of
DNN graph operators", NeurIPS 2020. Here the loads of all pairs of ideals come from two matrix products, one for the
transfers in and one for the transfers out, so that the programme is dense linear algebra.
"""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from placement.errors import InfeasibleError
from placement.workload import Workload

#: Above this many ideals the tables no longer fit; the authors' own cap is 60,000.
IDEAL_CAP = 40_000

_BLOCK_ROWS = 256

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class ContiguousSolution:
    """`device_of[g]`: the device of group g; accelerators are 0 .. count - 1, CPUs follow. Optimal for its graph."""

    max_load_milliseconds: float
    device_of: tuple[int, ...]
    ideal_count: int


def enumerate_ideals(workload: Workload, cap: int = IDEAL_CAP) -> NDArray[np.bool_] | None:
    """All ideals as rows of a bool matrix [ideals, groups], by growing size; None if there are more than `cap`."""
    predecessors = [0] * len(workload.groups)
    for source, target in workload.edges():
        predecessors[target] |= 1 << source
    level, found = {0}, [0]
    while level:
        level = {
            ideal | 1 << group
            for ideal in level
            for group, needed in enumerate(predecessors)
            if not ideal >> group & 1 and needed & ~ideal == 0
        }
        found += sorted(level)
        if len(found) > cap:
            return None
    width = (len(predecessors) + 7) // 8
    packed = np.array([np.frombuffer(i.to_bytes(width, "little"), np.uint8) for i in found])
    return np.unpackbits(packed, axis=1, count=len(predecessors), bitorder="little").astype(bool)


class PieceLoads:
    """Loads of all differences `larger - smaller` for a block of larger ideals, on an accelerator and on a CPU."""

    def __init__(self, workload: Workload, ideals: NDArray[np.bool_]) -> None:
        self.ideals = ideals
        self.capacity_bytes = workload.accelerator_bytes
        member = ideals.astype(np.float64)
        self.member = member
        groups = workload.groups
        self.accelerator = member @ np.array([g.accelerator_milliseconds for g in groups])
        self.cpu = member @ np.array([g.cpu_milliseconds for g in groups])
        self.size = member @ np.array([g.size_bytes for g in groups])
        self.illegal = member @ np.array([0.0 if g.accelerator_legal else 1.0 for g in groups])
        self.count = member.sum(axis=1)
        self._prepare_transfers(workload)

    def _prepare_transfers(self, workload: Workload) -> None:
        """Columns whose products give the transfers of every pair.

        Out of `larger - smaller`: sources in it with a target outside `larger`. Into it: sources in `smaller` with more
        targets within `larger` than within `smaller`; with t targets already reached, one column for each t.
        """
        incoming_small, incoming_large, open_cost = [], [], []
        for transfer in workload.transfers:
            reached = self.member[:, list(transfer.targets)].sum(axis=1)
            has_source = self.ideals[:, transfer.source]
            open_cost.append(transfer.milliseconds * (has_source & (reached < len(transfer.targets))))
            for t in range(len(transfer.targets)):
                incoming_small.append(transfer.milliseconds * (has_source & (reached == t)))
                incoming_large.append(reached >= t + 1)
        rows = len(self.ideals)
        self.open_cost = np.array(open_cost, dtype=float).reshape(-1, rows).T
        self.incoming_small = np.array(incoming_small, dtype=float).reshape(-1, rows).T
        self.incoming_large = np.array(incoming_large, dtype=float).reshape(-1, rows).T
        self.sources = self.member[:, [t.source for t in workload.transfers]]

    def block(self, first: int, last: int) -> tuple[Floats, Floats]:
        """(accelerator, cpu) loads [last - first, ideals before last], infinite where not a legal difference."""
        larger, smaller = slice(first, last), slice(0, last)
        missing = self.count[smaller][None, :] - self.member[larger] @ self.member[smaller].T
        no_difference = missing > 0.5
        leaving = self.open_cost[larger].sum(axis=1)[:, None] - self.open_cost[larger] @ self.sources[smaller].T
        entering = self.incoming_large[larger] @ self.incoming_small[smaller].T
        accelerator = self.accelerator[larger, None] - self.accelerator[None, smaller] + leaving + entering
        cpu = self.cpu[larger, None] - self.cpu[None, smaller]
        too_large = self.size[larger, None] - self.size[None, smaller] > self.capacity_bytes
        illegal = self.illegal[larger, None] - self.illegal[None, smaller] > 0.5
        accelerator[no_difference | too_large | illegal] = np.inf
        cpu[no_difference] = np.inf
        return np.maximum(accelerator, 0.0), np.maximum(cpu, 0.0)


def solve_contiguous(workload: Workload, ideals: NDArray[np.bool_]) -> ContiguousSolution:
    """The least maximum load over all contiguous plans. Raises InfeasibleError if no device may hold some part."""
    loads = PieceLoads(workload, ideals)
    count, kinds = len(ideals), (workload.accelerator_count, workload.cpu_count)
    best = np.full((kinds[0] + 1, kinds[1] + 1, count), np.inf)
    best[:, :, 0] = 0.0
    choice = np.full(best.shape, -1, dtype=np.int64)
    for first, last in blocks_of_equal_size(ideals):
        on_accelerator, on_cpu = loads.block(first, last)
        for a in range(kinds[0] + 1):
            for c in range(kinds[1] + 1):
                _relax(best, choice, (a, c), (first, last), on_accelerator, on_cpu)
    if not np.isfinite(best[kinds[0], kinds[1], -1]):
        raise InfeasibleError(_infeasible_reason(workload))
    return ContiguousSolution(float(best[kinds[0], kinds[1], -1]), _trace(workload, ideals, best, choice, loads), count)


def _relax(
    best: Floats,
    choice: NDArray[np.int64],
    used: tuple[int, int],
    rows: tuple[int, int],
    on_accelerator: Floats,
    on_cpu: Floats,
) -> None:
    """Fill best[used, rows]: the last device is an accelerator or a CPU. `choice` is 2 * smaller ideal + (is CPU)."""
    a, c = used
    first, last = rows
    for is_cpu, before, load in ((0, (a - 1, c), on_accelerator), (1, (a, c - 1), on_cpu)):
        if min(before) < 0:
            continue
        value = np.maximum(best[before][None, :last], load)
        smaller = value.argmin(axis=1)
        found = value[np.arange(len(smaller)), smaller]
        target, target_choice = best[a, c, first:last], choice[a, c, first:last]
        better = found < target
        target[better] = found[better]
        target_choice[better] = 2 * smaller[better] + is_cpu


def blocks_of_equal_size(ideals: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """Row ranges of ideals of one size each, so that no ideal of a range lies within another of it."""
    sizes = ideals.sum(axis=1)
    edges = [0, *(np.flatnonzero(np.diff(sizes)) + 1).tolist(), len(ideals)]
    blocks = []
    for first, last in pairwise(edges[1:]):
        blocks += [(start, min(start + _BLOCK_ROWS, last)) for start in range(first, last, _BLOCK_ROWS)]
    return blocks


def _trace(
    workload: Workload, ideals: NDArray[np.bool_], best: Floats, choice: NDArray[np.int64], loads: PieceLoads
) -> tuple[int, ...]:
    device_of = [0] * len(workload.groups)
    a, c, larger = workload.accelerator_count, workload.cpu_count, len(ideals) - 1
    while larger:
        picked = int(choice[a, c, larger])
        smaller, is_cpu = picked // 2, picked % 2
        device = workload.accelerator_count + c - 1 if is_cpu else a - 1
        for group in np.flatnonzero(ideals[larger] & ~ideals[smaller]):
            device_of[group] = device
        a, c, larger = a - (not is_cpu), c - is_cpu, smaller
    return tuple(device_of)


def _infeasible_reason(workload: Workload) -> str:
    if workload.accelerator_count == 0 and workload.cpu_count == 0:
        return "there is no device: give --devices 1 or more"
    return (
        f"no contiguous plan fits: {workload.accelerator_count} accelerators of {workload.accelerator_bytes:.4g} bytes "
        f"and {workload.cpu_count} CPUs for {sum(g.size_bytes for g in workload.groups):.4g} bytes"
    )
