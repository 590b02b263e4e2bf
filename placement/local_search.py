"""Better assignments of a workload from one that is known: annealing on what exceeds a target that falls as it is met.

Moves single groups and exchanges two; makes no proof. The random numbers are seeded: equal questions, equal answers.
"""

import math
import random
import time
from collections.abc import Sequence

from placement.load_state import LoadState
from placement.milp import largest_load
from placement.workload import Workload

#: How far below the best the next target lies, relative to it.
_STEP = 1e-4
#: How warm annealings start, relative to the best: taken in turn, the next one whenever the last did not help. Graphs
#: of dear transfers want heat, those of many small loads to be packed want none.
_WARMTHS = (5e-2, 1e-3, 5e-2, 5e-4)
_COOLING, _MOVES, _IDLE_TURNS = 1 / 50, 20_000, 1
_PATIENCE_SECONDS = 2.0
#: Shares of the changes, and how many groups move together at most.
_TOGETHER, _EXCHANGE, _MOST_TOGETHER = 0.3, 0.35, 10


def improve(
    workload: Workload,
    device_of: Sequence[int],
    seconds: float,
    *,
    enough: float = 0.0,
    patience: bool = False,
    seed: int = 0,
) -> tuple[float, tuple[int, ...]]:
    """The best (largest load, assignment) found within `seconds`, or as soon as the load is at most `enough`.

    With `patience` it stops where nothing better was found for longer than everything before took, and for a while.
    """
    chance, started = random.Random(seed), time.monotonic()
    first = tuple(device_of)
    best, value, helped = first, largest_load(workload, first), started
    now, reached, turn, idle = best, value, 0, 0
    while time.monotonic() < started + seconds and value > enough:
        if patience and time.monotonic() - helped > _PATIENCE_SECONDS + helped - started:
            break
        heat = reached * _WARMTHS[turn % len(_WARMTHS)]
        found = _Annealing(LoadState(workload, now), reached, heat, chance, started + seconds).run()
        counted = largest_load(workload, found) if found else math.inf
        if counted < reached:
            now, reached, idle = found, counted, 0
        else:
            turn, idle = turn + 1, idle + 1
        if reached < value:
            best, value, helped = now, reached, time.monotonic()
        if idle == _IDLE_TURNS:
            # Begin again, from the first plan and from the best in turn: annealing ends in different places.
            now, idle = (first if now is best else best), 0
            reached = largest_load(workload, now)
    return value, best


class _Annealing:
    """One cooling towards a target just below the best known value."""

    def __init__(self, state: LoadState, value: float, heat: float, chance: random.Random, deadline: float) -> None:
        self.state, self.heat, self.chance, self.deadline = state, heat, chance, deadline
        self.target = value * (1 - _STEP)
        self.near = _neighbours(state)
        self.groups = [g for g in range(len(state.device_of)) if state.matters(g)]
        self.excess = _excess(state.loads, self.target)

    def run(self) -> tuple[int, ...]:
        """The last assignment that reached its target, which falls each time; empty if none did."""
        best: tuple[int, ...] = ()
        heat, fall = self.heat, _COOLING ** (1 / _MOVES)
        for number in range(_MOVES if self.groups else 0):
            if number % 256 == 0 and time.monotonic() > self.deadline:
                break
            heat *= fall
            self._try(heat)
            if self.excess <= 0:
                best = tuple(self.state.device_of)
                self.target = max(self.state.loads) * (1 - _STEP)
                self.excess = _excess(self.state.loads, self.target)
        return best

    def _try(self, heat: float) -> None:
        """A random change, undone unless it lowers the excess or the heat allows for its rise."""
        moves = self._moves()
        if not moves or not self._fits(moves):
            return
        before = [(group, self.state.device_of[group]) for group, _ in moves]
        self._apply(moves)
        excess = _excess(self.state.loads, self.target)
        if excess <= self.excess or self.chance.random() < math.exp((self.excess - excess) / heat):
            self.excess = excess
        else:
            self._apply(before)

    def _apply(self, moves: Sequence[tuple[int, int]]) -> None:
        for group, device in moves:
            self.state.move(group, device)

    def _moves(self) -> list[tuple[int, int]]:
        """One group to another device, or with its neighbours there, or in exchange for one that is there."""
        group = self.groups[int(self.chance.random() * len(self.groups))]
        home, device, kind = self.state.device_of[group], self._device(group), self.chance.random()
        if device == home:
            return []
        if kind < _TOGETHER:
            return [(each, device) for each in self._cluster(group, home)]
        other = self._partner(device) if kind < _TOGETHER + _EXCHANGE else -1
        return [(group, device)] if other < 0 else [(group, device), (other, home)]

    def _cluster(self, group: int, home: int) -> list[int]:
        """Connected groups of one device, up to a random number: what must cross together to spare a transfer."""
        found, wanted = [group], 2 + int(self.chance.random() * _MOST_TOGETHER)
        for each in found:
            for other in self.near[each]:
                if len(found) < wanted and other not in found and self.state.device_of[other] == home:
                    found.append(other)
        return found

    def _device(self, group: int) -> int:
        """Mostly the device of a neighbour in the graph, so that no new transfer arises; else any."""
        near = self.near[group]
        if near and self.chance.random() < 0.8:
            return self.state.device_of[near[int(self.chance.random() * len(near))]]
        return int(self.chance.random() * self.state.devices)

    def _partner(self, device: int) -> int:
        """A group on `device`; -1 if a few draws find none."""
        for _ in range(4):
            other = self.groups[int(self.chance.random() * len(self.groups))]
            if self.state.device_of[other] == device:
                return other
        return -1

    def _fits(self, moves: Sequence[tuple[int, int]]) -> bool:
        state, growth = self.state, dict[int, float]()
        for group, device in moves:
            home = state.device_of[group]
            growth[device] = growth.get(device, 0.0) + state.size[group]
            growth[home] = growth.get(home, 0.0) - state.size[group]
        return all(state.allows(group, device, growth[device]) for group, device in moves)


def _excess(loads: Sequence[float], target: float) -> float:
    total = 0.0
    for load in loads:
        if load > target:
            total += load - target
    return total


def _neighbours(state: LoadState) -> list[list[int]]:
    near: list[set[int]] = [set() for _ in state.device_of]
    for group, numbers in enumerate(state.targets_of):
        for number in numbers:
            near[group].add(state.source[number])
            near[state.source[number]].add(group)
    return [sorted(groups) for groups in near]
