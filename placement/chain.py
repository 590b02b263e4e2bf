"""Exact placement of a chain of blocks: which device takes which contiguous range, for latency or for throughput.

Pure arrays in, stages out: knows neither models nor where the numbers come from. Each device takes at most one range
and may be left out; the order of devices is chosen. The programme runs over (devices used, last device, blocks done):

    entry[used, d, i] = min over e of join(value[used, e, i], link[e, d, i])
    value[used + d, d, j] = min over i < j of join(entry[used, d, i], stage[d, i, j])

where join is + for latency and max for throughput. Devices that are alike in every array count as one type of which
some are used, so that they are not enumerated twice. The hop from the last stage back to the host and from the host to
the first are links like others: every decoded token pays both.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import product
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Objective = Literal["latency", "throughput"]


@dataclass(frozen=True, slots=True)
class ChainProblem:
    """D devices, L blocks; the host that feeds the first stage and receives from the last is index D of the links.

    `block_seconds` [D, L], inf where a block is illegal on a device. `stage_seconds` [D]: what a stage costs besides
    its blocks. `block_bytes` [D, L], `capacity_bytes` [D]. `link_seconds` [D+1, D+1, L+1]: moving what crosses the
    boundary before block i from one device to another.
    """

    block_seconds: Floats
    stage_seconds: Floats
    block_bytes: Floats
    capacity_bytes: Floats
    link_seconds: Floats

    @property
    def device_count(self) -> int:
        return int(self.block_seconds.shape[0])

    @property
    def block_count(self) -> int:
        return int(self.block_seconds.shape[1])


@dataclass(frozen=True, slots=True)
class ChainStage:
    """Blocks [first, last) on a device, by index."""

    device: int
    first: int
    last: int


@dataclass(frozen=True, slots=True)
class ChainSolution:
    """The stages in order and both figures of them: the sum of stages and links, and the largest of any."""

    stages: tuple[ChainStage, ...]
    latency_seconds: float
    bottleneck_seconds: float


def stage_table(problem: ChainProblem, bottleneck_bound_seconds: float = np.inf) -> Floats:
    """Seconds of every possible stage, [D, L+1, L+1] at (device, first, last); inf where illegal or too large."""
    blocks = problem.block_count
    legal = np.isfinite(problem.block_seconds)
    seconds = _prefix(np.where(legal, problem.block_seconds, 0.0))
    size, illegal = _prefix(problem.block_bytes), _prefix((~legal).astype(float))
    table = seconds[:, None, :] - seconds[:, :, None] + problem.stage_seconds[:, None, None]
    table[size[:, None, :] - size[:, :, None] > problem.capacity_bytes[:, None, None]] = np.inf
    table[illegal[:, None, :] - illegal[:, :, None] > 0.5] = np.inf
    table[:, np.tri(blocks + 1, dtype=bool)] = np.inf
    table[table > bottleneck_bound_seconds] = np.inf
    return table


def solve_chain(
    problem: ChainProblem, objective: Objective, bottleneck_bound_seconds: float = np.inf
) -> ChainSolution | None:
    """The best plan, or None if no legal one exists.

    `bottleneck_bound_seconds` forbids stages and links that take longer: latency under a bound on throughput.
    """
    table = stage_table(problem, bottleneck_bound_seconds)
    links = np.where(problem.link_seconds > bottleneck_bound_seconds, np.inf, problem.link_seconds)
    join: Callable[[Floats, Floats], Floats] = np.add if objective == "latency" else np.maximum
    types = _types(problem)
    return _Programme(problem, table, links, join, types).solve()


class _Programme:
    """One run of the dynamic programme; states are (how many of each type are used, type of the last stage)."""

    def __init__(
        self,
        problem: ChainProblem,
        table: Floats,
        links: Floats,
        join: Callable[[Floats, Floats], Floats],
        types: list[list[int]],
    ) -> None:
        self.problem, self.table, self.links, self.join, self.types = problem, table, links, join, types
        self.values: dict[tuple[tuple[int, ...], int], Floats] = {}
        self.came_from: dict[tuple[tuple[int, ...], int], tuple[NDArray[np.int64], NDArray[np.int64]]] = {}

    def solve(self) -> ChainSolution | None:
        for used in product(*(range(len(members) + 1) for members in self.types)):
            for kind in range(len(self.types)):
                if used[kind] > 0:
                    self._fill(used, kind)
        return self._best()

    def _fill(self, used: tuple[int, ...], kind: int) -> None:
        device = self.types[kind][0]
        before = tuple(n - (k == kind) for k, n in enumerate(used))
        entry, entered_by = self._entries(before, kind)
        if not np.isfinite(entry).any():
            return
        candidates = self.join(entry[:, None], self.table[device])
        first = candidates.argmin(axis=0)
        value = candidates[first, np.arange(candidates.shape[1])]
        if np.isfinite(value).any():
            self.values[used, kind] = value
            self.came_from[used, kind] = (first, entered_by[first])

    def _entries(self, before: tuple[int, ...], kind: int) -> tuple[Floats, NDArray[np.int64]]:
        """The least value at which a stage of `kind` can start at each boundary, and the kind before it (-1: host)."""
        blocks, device = self.problem.block_count, self.types[kind][0]
        if not any(before):
            entry = np.full(blocks + 1, np.inf)
            entry[0] = self.links[self.problem.device_count, device, 0]
            return entry, np.full(blocks + 1, -1)
        kinds = [e for e in range(len(self.types)) if (before, e) in self.values]
        if not kinds:
            return np.full(blocks + 1, np.inf), np.full(blocks + 1, -1)
        arriving = np.array([self.join(self.values[before, e], self._link(e, kind)) for e in kinds])
        chosen = arriving.argmin(axis=0)
        return arriving[chosen, np.arange(blocks + 1)], np.array(kinds)[chosen]

    def _link(self, kind_from: int, kind_to: int) -> Floats:
        """Links between two devices of these types; between two of one type, the link of any two different ones."""
        source, target = self.types[kind_from][0], self.types[kind_to][0]
        if kind_from == kind_to:
            target = self.types[kind_to][1]
        link: Floats = self.links[source, target]
        return link

    def _best(self) -> ChainSolution | None:
        blocks, host = self.problem.block_count, self.problem.device_count
        best_key, best_value = None, np.inf
        for (used, kind), value in self.values.items():
            leaving = self.links[self.types[kind][0], host, blocks : blocks + 1]
            total = float(self.join(value[blocks : blocks + 1], leaving)[0])
            # Of equal plans the one with fewer stages, which comes first, is kept.
            if total < best_value - 1e-15 or (total <= best_value and best_key and sum(used) < sum(best_key[0])):
                best_key, best_value = (used, kind), total
        return None if best_key is None else self._trace(*best_key)

    def _trace(self, used: tuple[int, ...], kind: int) -> ChainSolution:
        stages: list[ChainStage] = []
        last = self.problem.block_count
        while kind >= 0:
            first, entered_by = (int(a[last]) for a in self.came_from[used, kind])
            stages.append(ChainStage(self.types[kind][used[kind] - 1], first, last))
            used = tuple(n - (k == kind) for k, n in enumerate(used))
            kind, last = entered_by, first
        return score(self.problem, tuple(reversed(stages)))


def score(problem: ChainProblem, stages: tuple[ChainStage, ...]) -> ChainSolution:
    """Both figures of a given plan, counted from the definition; inf where a stage is illegal or does not fit."""
    host, parts = problem.device_count, []
    before = host
    for stage in stages:
        blocks = slice(stage.first, stage.last)
        parts.append(float(problem.link_seconds[before, stage.device, stage.first]))
        fits = problem.block_bytes[stage.device, blocks].sum() <= problem.capacity_bytes[stage.device]
        seconds = float(problem.block_seconds[stage.device, blocks].sum() + problem.stage_seconds[stage.device])
        parts.append(seconds if fits else np.inf)
        before = stage.device
    parts.append(float(problem.link_seconds[before, host, problem.block_count]))
    return ChainSolution(stages, sum(parts), max(parts))


def pareto(problem: ChainProblem, limit: int = 64) -> tuple[ChainSolution, ...]:
    """Plans of which none is better in both latency and bottleneck, from the fastest single request on.

    Epsilon constraint: after each plan the next is the fastest among those with a strictly smaller bottleneck.
    """
    found: list[ChainSolution] = []
    bound = np.inf
    while len(found) < limit:
        solution = solve_chain(problem, "latency", bound)
        if solution is None:
            break
        found.append(solution)
        # Stage times come from differences of prefix sums; the step down must exceed their rounding.
        bound = solution.bottleneck_seconds * (1 - 1e-9)
    return tuple(found)


def without_device(problem: ChainProblem, device: int) -> ChainProblem:
    """The same problem where `device` may hold nothing: the plan for its loss."""
    seconds = problem.block_seconds.copy()
    seconds[device] = np.inf
    return replace(problem, block_seconds=seconds)


def _prefix(values: Floats) -> Floats:
    return np.concatenate([np.zeros((len(values), 1)), np.cumsum(values, axis=1)], axis=1)


def _types(problem: ChainProblem) -> list[list[int]]:
    """Devices grouped so that exchanging two of a group changes no array."""
    types: list[list[int]] = []
    for device in range(problem.device_count):
        for members in types:
            if _interchangeable(problem, members, device):
                members.append(device)
                break
        else:
            types.append([device])
    return types


def _interchangeable(problem: ChainProblem, members: list[int], device: int) -> bool:
    one = members[0]
    own = (problem.block_seconds, problem.stage_seconds, problem.block_bytes, problem.capacity_bytes)
    if not all(np.array_equal(a[one], a[device]) for a in own):
        return False
    links = problem.link_seconds
    others = [d for d in range(problem.device_count + 1) if d not in (*members, device)]
    if not np.array_equal(links[one, others], links[device, others]):
        return False
    if not np.array_equal(links[others, one], links[others, device]):
        return False
    inside = [links[a, b] for a in (*members, device) for b in (*members, device) if a != b]
    return all(np.array_equal(inside[0], link) for link in inside)
