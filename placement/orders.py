"""Some ideals of a workload where there are too many for all: the beginnings of several topological orders.

Orders that finish a branch before they begin the next cut few transfers; each is drawn with other branches first. A
programme over these ideals finds a legal contiguous plan, but not always the best one.
"""

import random

import numpy as np
from numpy.typing import NDArray

from placement.ideals import by_size
from placement.workload import Workload

#: Above this many ideals their pairs take more time than further orders are worth.
_MOST_IDEALS = 4_000


def ideals_of_orders(workload: Workload, *, most: int = _MOST_IDEALS, seed: int = 0) -> NDArray[np.bool_]:
    """A bool matrix [ideals, groups] as `enumerate_ideals` gives it, of at most about `most` rows."""
    chance = random.Random(seed)
    count = len(workload.groups)
    found: set[int] = {0}
    for number in range(max(2, 2 * most // (count + 1))):
        found |= set(_beginnings(_order(workload, chance, depth_first=number % 4 != 3)))
        if len(found) > most:
            break
    width = (count + 7) // 8
    packed = np.array([np.frombuffer(ideal.to_bytes(width, "little"), np.uint8) for ideal in found])
    return by_size(workload, np.unpackbits(packed, axis=1, count=count, bitorder="little").astype(bool))


def _beginnings(order: list[int]) -> list[int]:
    members, found = 0, []
    for group in order:
        members |= 1 << group
        found.append(members)
    return found


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
    for source, target in sorted(workload.edges()):
        waits[target] += 1
        following[source].append(target)
    return waits, following
