"""Some ideals of a workload where there are too many for all: the beginnings of several topological orders.

Orders that finish a branch before they begin the next cut few transfers; each is drawn with other branches first, or
near the order of a plan that is known. A programme over these ideals finds a legal contiguous plan, but not always the
best one.
"""

import heapq
import random
from collections.abc import Iterator, Sequence
from graphlib import TopologicalSorter

import numpy as np
from numpy.typing import NDArray

from placement.ideals import by_size
from placement.workload import Workload

#: Above this many ideals their pairs take more time than further orders are worth.
_MOST_IDEALS = 4_000
#: How far a group strays from its place in a known plan's order, as parts of all groups.
_STRAYING = (0.02, 0.1, 0.3)


def ideals_of_orders(workload: Workload, *, most: int = _MOST_IDEALS, seed: int = 0) -> NDArray[np.bool_]:
    """A bool matrix [ideals, groups] as `enumerate_ideals` gives it, of at most about `most` rows."""
    chance = random.Random(seed)
    orders = (_order(workload, chance, depth_first=number % 4 != 3) for number in range(_most_orders(workload, most)))
    return _ideals(workload, orders, most)


def ideals_near(workload: Workload, device_of: Sequence[int], *, most: int, seed: int) -> NDArray[np.bool_]:
    """Ideals of the contiguous plan `device_of` and of orders near one that the plan's pieces keep to."""
    chance, count = random.Random(seed), len(workload.groups)
    place = _places(workload, device_of)

    def orders() -> Iterator[list[int]]:
        yield _order_by(workload, place)
        for number in range(_most_orders(workload, most)):
            stray = _STRAYING[number % len(_STRAYING)] * count
            yield _order_by(workload, [at + stray * chance.gauss(0.0, 1.0) for at in place])

    return _ideals(workload, orders(), most)


def _most_orders(workload: Workload, most: int) -> int:
    return max(2, 2 * most // (len(workload.groups) + 1))


def _ideals(workload: Workload, orders: Iterator[list[int]], most: int) -> NDArray[np.bool_]:
    found: set[int] = {0}
    for order in orders:
        found |= set(_beginnings(order))
        if len(found) > most:
            break
    count = len(workload.groups)
    width = (count + 7) // 8
    packed = np.array([np.frombuffer(ideal.to_bytes(width, "little"), np.uint8) for ideal in found])
    return by_size(workload, np.unpackbits(packed, axis=1, count=count, bitorder="little").astype(bool))


def _beginnings(order: list[int]) -> list[int]:
    members, found = 0, []
    for group in order:
        members |= 1 << group
        found.append(members)
    return found


def _places(workload: Workload, device_of: Sequence[int]) -> list[float]:
    """Each group's place in an order that finishes one piece of the plan before it begins the next."""
    pieces: TopologicalSorter[int] = TopologicalSorter({device: () for device in device_of})
    for source, target in workload.order:
        if device_of[source] != device_of[target]:
            pieces.add(device_of[target], device_of[source])
    turn = {device: number for number, device in enumerate(pieces.static_order())}
    order = sorted(range(len(device_of)), key=lambda group: (turn[device_of[group]], group))
    return [float(at) for _, at in sorted(zip(order, range(len(order)), strict=True))]


def _order_by(workload: Workload, place: Sequence[float]) -> list[int]:
    """A topological order: of the groups that are ready, the one with the smallest place."""
    waits, following = _waits(workload)
    ready = [(place[group], group) for group, number in enumerate(waits) if not number]
    heapq.heapify(ready)
    order = []
    while ready:
        _, group = heapq.heappop(ready)
        order.append(group)
        for target in following[group]:
            waits[target] -= 1
            if not waits[target]:
                heapq.heappush(ready, (place[target], target))
    return order


def _order(workload: Workload, chance: random.Random, *, depth_first: bool) -> list[int]:
    """A topological order: of the groups that are ready, the one that became so last, or first."""
    waits, following = _waits(workload)
    ready = [group for group, number in enumerate(waits) if not number]
    chance.shuffle(ready)
    order = []
    while ready:
        group = ready.pop() if depth_first else ready.pop(0)
        order.append(group)
        freed = []
        for target in following[group]:
            waits[target] -= 1
            if not waits[target]:
                freed.append(target)
        chance.shuffle(freed)
        ready += freed
    return order


def _waits(workload: Workload) -> tuple[list[int], list[list[int]]]:
    """How many predecessors each group waits for, and the groups that wait for it."""
    waits = [0] * len(workload.groups)
    following: list[list[int]] = [[] for _ in workload.groups]
    for source, target in sorted(workload.order):
        waits[target] += 1
        following[source].append(target)
    return waits, following
