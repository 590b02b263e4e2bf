"""Single-request latency of a workload: the evaluator of the format's definition, a plan, and a lower bound.

A piece on an accelerator starts when all its inputs are there, then moves them in, computes, and moves its outputs
out; groups on a CPU run as soon as their inputs are there, any number at once. Each accelerator takes one piece. Plans
come from a dynamic programme over ideals that adds piece after piece, followed by local search under the evaluator.
"""

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter

import numpy as np
from numpy.typing import NDArray

from placement.errors import InfeasibleError
from placement.ideals import blocks_of_equal_size, enumerate_ideals
from placement.orders import ideals_near, ideals_of_orders
from placement.piece_loads import PieceLoads
from placement.workload import Workload

#: Above so many ideals those of some orders stand for all; so many are looked at near the best plan, again and again
#: until that did not help so many times in a row.
_MOST_IDEALS, _NEAR_IDEALS, _PATIENCE = 5_000, 600, 8


@dataclass(frozen=True, slots=True)
class LatencySolution:
    """`device_of[g]`: accelerators are 0 .. count - 1, the CPUs together are number `accelerator_count`."""

    latency_milliseconds: float
    bound_milliseconds: float
    device_of: tuple[int, ...]


def solve_latency(workload: Workload, deadline: float) -> LatencySolution:
    """A contiguous plan of small latency with a proven lower bound, improved until `time.monotonic()` is `deadline`.

    Raises InfeasibleError if nothing fits.
    """
    evaluate, bound = LatencyEvaluator(workload), path_bound(workload)
    best, value = _first_plan(workload, deadline), math.inf
    start, seed, idle = best, 0, 0
    while True:
        device_of = list(start)
        found = _improve(workload, device_of, evaluate, deadline)
        idle = 0 if found < value * (1 - 1e-6) else idle + 1
        value, best = min((value, best), (found, tuple(device_of)))
        if idle > _PATIENCE or value <= bound * (1 + 1e-9) or time.monotonic() >= deadline:
            return LatencySolution(value, bound, best)
        try:
            near = ideals_near(workload, _pieces(workload, best), most=_NEAR_IDEALS, seed=seed)
            start, seed = _plan_by_pieces(workload, near, deadline), seed + 1
        except TimeoutError:
            return LatencySolution(value, bound, best)


def _first_plan(workload: Workload, deadline: float) -> tuple[int, ...]:
    """From the ideals of an order or two, however little time there is; from all ideals, or many, where there is."""
    found = _plan_by_pieces(workload, ideals_of_orders(workload, most=len(workload.groups)), math.inf)
    ideals = enumerate_ideals(workload, _MOST_IDEALS)
    try:
        return _plan_by_pieces(workload, ideals_of_orders(workload) if ideals is None else ideals, deadline)
    except TimeoutError:
        return found


def _pieces(workload: Workload, device_of: Sequence[int]) -> list[int]:
    """A number for each piece: an accelerator's own, and one for each group on a CPU."""
    return [d if d < workload.accelerator_count else d + g for g, d in enumerate(device_of)]


def path_bound(workload: Workload) -> float:
    """The longest path when every group runs at its fastest legal speed and nothing is transferred."""
    finish = [0.0] * len(workload.groups)
    arrivals = _predecessors(workload)
    for index, group in enumerate(workload.groups):
        fastest = group.cpu_milliseconds if workload.cpu_count else np.inf
        if group.accelerator_legal and workload.accelerator_count:
            fastest = min(fastest, group.accelerator_milliseconds)
        finish[index] = max((finish[p] for p in arrivals[index]), default=0.0) + fastest
    return float(max(finish))


def _predecessors(workload: Workload) -> list[set[int]]:
    before: list[set[int]] = [set() for _ in workload.groups]
    for source, target in workload.edges():
        before[target].add(source)
    return before


class LatencyEvaluator:
    """Latency of an assignment by the format's definition; inf where it is illegal."""

    def __init__(self, workload: Workload) -> None:
        self.workload = workload
        self.cpu = workload.accelerator_count
        self.edges = workload.edges()

    def __call__(self, device_of: Sequence[int]) -> float:
        if not self._legal(device_of):
            return float("inf")
        piece_of = [g if d == self.cpu else -1 - d for g, d in enumerate(device_of)]
        before: dict[int, set[int]] = {piece: set() for piece in piece_of}
        for source, target in self.edges:
            if piece_of[source] != piece_of[target]:
                before[piece_of[target]].add(piece_of[source])
        seconds = self._piece_milliseconds(device_of, piece_of)
        finish: dict[int, float] = {}
        try:
            for piece in TopologicalSorter(before).static_order():
                finish[piece] = max((finish[p] for p in before[piece]), default=0.0) + seconds[piece]
        except CycleError:
            return float("inf")  # two pieces wait for each other: not contiguous
        return max(finish.values())

    def _legal(self, device_of: Sequence[int]) -> bool:
        size = [0.0] * (self.cpu + 1)
        for group, device in zip(self.workload.groups, device_of, strict=True):
            if device < self.cpu and not group.accelerator_legal:
                return False
            size[device] += group.size_bytes
        if self.workload.cpu_count == 0 and self.cpu in device_of:
            return False
        return max(size[: self.cpu], default=0.0) <= self.workload.accelerator_bytes

    def _piece_milliseconds(self, device_of: Sequence[int], piece_of: Sequence[int]) -> dict[int, float]:
        total = dict.fromkeys(piece_of, 0.0)
        for group, device, piece in zip(self.workload.groups, device_of, piece_of, strict=True):
            total[piece] += group.cpu_milliseconds if device == self.cpu else group.accelerator_milliseconds
        for transfer in self.workload.transfers:
            source = piece_of[transfer.source]
            crossed = {piece_of[t] for t in transfer.targets} - {source}
            if crossed and source < 0:
                total[source] += transfer.milliseconds
            for piece in crossed:
                total[piece] += transfer.milliseconds if piece < 0 else 0.0
        return total


def _plan_by_pieces(workload: Workload, ideals: NDArray[np.bool_], deadline: float) -> tuple[int, ...]:
    """Least sum of pieces over chains of ideals: value[a][ideal] with a accelerators used.

    Raises InfeasibleError if nothing fits, TimeoutError at `deadline`.
    """
    loads = PieceLoads(workload, ideals)
    accelerators, cpu = workload.accelerator_count, workload.accelerator_count
    value = np.full((accelerators + 1, len(ideals)), np.inf)
    value[:, 0] = 0.0
    choice = np.full(value.shape, -1, dtype=np.int64)
    for first, last in blocks_of_equal_size(ideals):
        if time.monotonic() > deadline:
            raise TimeoutError(f"{len(ideals)} ideals were too many for the time")
        on_accelerator, on_cpu = loads.block(first, last)
        for a in range(accelerators + 1):
            options = [(value[a][None, :last] + on_cpu, 1)] if workload.cpu_count else []
            if a:
                options.append((value[a - 1][None, :last] + on_accelerator, 0))
            for total, is_cpu in options:
                smaller = total.argmin(axis=1)
                found = total[np.arange(len(smaller)), smaller]
                better = found < value[a, first:last]
                value[a, first:last][better] = found[better]
                choice[a, first:last][better] = 2 * smaller[better] + is_cpu
    if not np.isfinite(value[accelerators, -1]):
        raise InfeasibleError("no contiguous plan fits the accelerators, and there is no CPU to take the rest")
    device_of = [cpu] * len(workload.groups)
    a, larger = accelerators, len(ideals) - 1
    while larger:
        smaller, is_cpu = divmod(int(choice[a, larger]), 2)
        if not is_cpu:
            a -= 1
            for group in np.flatnonzero(ideals[larger] & ~ideals[smaller]):
                device_of[group] = a
        larger = smaller
    return tuple(device_of)


def _improve(workload: Workload, device_of: list[int], evaluate: LatencyEvaluator, deadline: float) -> float:
    """First-improvement local search: move one group to another device while that helps. Edits `device_of`."""
    best = evaluate(device_of)
    neighbours: dict[int, set[int]] = {g: set() for g in range(len(device_of))}
    for source, target in workload.edges():
        neighbours[source].add(target)
        neighbours[target].add(source)
    improved = True
    while improved:
        improved = False
        for group, near in neighbours.items():
            if time.monotonic() > deadline:
                return best
            for device in sorted({device_of[n] for n in near} | {workload.accelerator_count}):
                old = device_of[group]
                if device == old:
                    continue
                device_of[group] = device
                value = evaluate(device_of)
                if value < best - 1e-12:
                    best, improved = value, True
                else:
                    device_of[group] = old
    return best
