"""How many blocks devices can take at most, wherever in the chain: what no plan of so many stages gets round.

Every stage is taken as the cheapest of its length on its device, and links as free, so that what remains of a chain is
a number of blocks to share out. Knows arrays of stage costs; knows neither plans nor what the costs are.
"""

from collections.abc import Sequence

import numpy as np
from numpy.lib.stride_tricks import as_strided, sliding_window_view
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


def least_by_length(stage: Floats) -> Floats:
    """[D, L+1]: the least cost on each device of any stage of so many blocks, of `stage` [D, L+1, L+1].

    Infinite at 0, as `stage` is wherever it does not begin before it ends.
    """
    device, first, last = stage.strides
    blocks = stage.shape[1] - 1
    # Row `first` seen from its own block on; past its end come blocks of the next row that are all infinite.
    lengths = as_strided(stage, (len(stage), blocks, blocks + 1), (device, first + last, last), writeable=False)
    return np.asarray(lengths.min(axis=1))


def longest(by_length: Floats, limit: float = np.inf) -> Ints:
    """[D]: blocks of each device's longest stage that costs less than `limit`."""
    possible = by_length < limit
    return np.where(possible.any(axis=1), by_length.shape[1] - 1 - possible[:, ::-1].argmax(axis=1), 0)


def fewest_devices(most: Ints, blocks: int) -> int:
    """How many devices it takes at least to hold all blocks, each as many as `most` [D] says; D + 1 where none do."""
    held = np.cumsum(np.sort(most)[::-1])
    return int(np.searchsorted(held, blocks)) + 1


def least_largest(by_length: Floats, count: int) -> float:
    """What the largest stage of no plan of up to `count` devices can be below; infinite where no plan can be."""
    blocks = by_length.shape[1] - 1
    costs = np.unique(by_length[np.isfinite(by_length)])
    low, high = 0, len(costs)
    while low < high:
        middle = (low + high) // 2
        # The longest that cost no more than this.
        lengths = longest(by_length, np.nextafter(costs[middle], np.inf))
        if np.sort(lengths)[::-1][:count].sum() >= blocks:
            high = middle
        else:
            low = middle + 1
    return float(costs[low]) if low < len(costs) else float("inf")


def least_total(by_length: Floats, count: int) -> float:
    """What the stages of no plan of `count` devices can add up to less than; infinite where no plan can be.

    A knapsack: blocks are shared out over devices one after the other, each with some or left out.
    """
    blocks = by_length.shape[1] - 1
    # By how many devices have some and, backwards, by how many blocks have been given out; before 0 nothing is.
    given = np.full((count + 1, 2 * blocks + 1), np.inf)
    given[0, blocks] = 0.0
    for costs, most in zip(by_length, longest(by_length), strict=True):
        before = sliding_window_view(given[:-1], most + 1, axis=1)[:, blocks - most :]
        given[1:, blocks:] = np.minimum(given[1:, blocks:], (before + costs[most::-1]).min(axis=2))
    return float(given[count, -1])


def room_left(longest_of_kind: Ints, used: Sequence[Sequence[int]], sizes: Sequence[int], count: int) -> Ints:
    """[states]: blocks that `count` more devices can take at most, where `used` [states, kinds] of `sizes` are gone."""
    order = np.argsort(-longest_of_kind, kind="stable")
    free = (np.asarray(sizes) - np.asarray(used, dtype=np.int64).reshape(len(used), len(sizes)))[:, order]
    before = np.cumsum(free, axis=1) - free
    return np.asarray(np.clip(count - before, 0, free) @ longest_of_kind[order])
