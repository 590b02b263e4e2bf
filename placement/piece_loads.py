"""Loads of all differences of two ideals of a workload, from matrix products instead of one pair after the other.

With 0/1 rows of ideals the transfers of every pair are products of their columns, for those out of `larger - smaller`
and those into it, forward and (in training) backward. Single precision is enough to choose by; what is reported is
counted again from the definition.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from placement.workload import Transfer, Workload

Floats = NDArray[np.floating]
Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Pairs:
    """Pairs of ideals in order of `larger` (row of the block): smaller's index, and the load of the difference."""

    larger: Ints
    smaller: Ints
    load: Floats


class PieceLoads:
    """The loads of one workload's ideals, given as rows of a bool matrix [ideals, groups] by growing size."""

    def __init__(self, workload: Workload, ideals: NDArray[np.bool_]) -> None:
        self.ideals = ideals
        self.capacity_bytes = workload.accelerator_bytes
        groups = workload.groups
        member = ideals.astype(np.float64)
        self.accelerator = member @ np.array([g.accelerator_milliseconds for g in groups])
        self.cpu = member @ np.array([g.cpu_milliseconds for g in groups])
        self.size = member @ np.array([g.size_bytes for g in groups])
        self.illegal = member @ np.array([0.0 if g.accelerator_legal else 1.0 for g in groups])
        self.words = _words(ideals)
        self._prepare_transfers(workload, member.astype(np.float32))

    def _prepare_transfers(self, workload: Workload, member: NDArray[np.float32]) -> None:
        """Columns whose products, large @ small, add up to the transfers of every pair."""
        large: list[Floats] = []
        small: list[Floats] = []
        for transfer in (each for each in workload.transfers if each.milliseconds > 0):
            in_order = all((transfer.source, target) in workload.order for target in transfer.targets)
            for of_larger, of_smaller in _crossings(transfer, member, in_order=in_order):
                large.append(of_larger.astype(np.float32))
                small.append(of_smaller * np.float32(transfer.milliseconds))
        self.large, self.small = _columns(large, len(member)), _columns(small, len(member))

    def block(self, first: int, last: int) -> tuple[Floats, Floats]:
        """(accelerator, cpu) loads [last - first, ideals before last], infinite where not a legal difference."""
        accelerator, cpu = self._loads(slice(first, last), np.arange(last))
        return accelerator, cpu

    def pairs(self, first: int, last: int, upper: float) -> tuple[Pairs, Pairs]:
        """(accelerator, cpu) pairs whose load is at most `upper`, for the larger ideals [first, last)."""
        near = self.accelerator[:last] >= self.accelerator[first:last].min() - upper
        near |= self.cpu[:last] >= self.cpu[first:last].min() - upper
        smaller = np.flatnonzero(near)
        return tuple(_sparse(load, smaller, upper) for load in self._loads(slice(first, last), smaller))  # type: ignore[return-value]

    def _loads(self, larger: slice, smaller: Ints) -> tuple[Floats, Floats]:
        transfers = self.large[larger] @ self.small[smaller].T
        accelerator = self.accelerator[larger, None] - self.accelerator[None, smaller] + transfers
        cpu = self.cpu[larger, None] - self.cpu[None, smaller]
        no_difference = self._no_difference(larger, smaller)
        too_large = self.size[larger, None] - self.size[None, smaller] > self.capacity_bytes
        illegal = self.illegal[larger, None] - self.illegal[None, smaller] > 0.5
        accelerator[no_difference | too_large | illegal] = np.inf
        cpu[no_difference] = np.inf
        return np.maximum(accelerator, 0.0), np.maximum(cpu, 0.0)

    def _no_difference(self, larger: slice, smaller: Ints) -> NDArray[np.bool_]:
        """Where `smaller` is not within `larger`."""
        outside = np.zeros((larger.stop - larger.start, len(smaller)), dtype=bool)
        for word in range(self.words.shape[1]):
            outside |= (self.words[None, smaller, word] & ~self.words[larger, None, word]) != 0
        return outside


def _crossings(transfer: Transfer, member: NDArray[np.float32], *, in_order: bool) -> Iterator[tuple[Floats, Floats]]:
    """Pairs of columns (of larger, of smaller): their products' sum says how often a piece pays for the transfer.

    It pays for leaving if it has the source and not all targets. It pays for entering if it lacks the source and has a
    target: if more targets are within `larger` than the t that are within `smaller`, one column for each t. Where a
    transfer is in order, the targets of a source that `smaller` lacks are not in it either, and no source comes later.
    """
    source = member[:, transfer.source]
    reached = member[:, list(transfer.targets)].sum(axis=1)
    all_reached = reached == len(transfer.targets)
    if in_order:
        yield source * ~all_reached, 1 - source
    else:
        yield source, 1 - source
        yield -source * all_reached, (1 - source) * (reached == 0)
    for t in range(len(transfer.targets)):
        yield reached >= t + 1, source * (reached == t)
        if not in_order:
            yield (1 - source) * (reached >= t + 1), (reached == t).astype(np.float32)


def _sparse(load: Floats, smaller: Ints, upper: float) -> Pairs:
    rows, places = np.nonzero(load <= upper)
    return Pairs(rows, smaller[places], load[rows, places])


def _columns(columns: list[Floats], rows: int) -> NDArray[np.float32]:
    """[rows, number of columns]; at least one column, so that products are defined."""
    if not columns:
        return np.zeros((rows, 1), dtype=np.float32)
    return np.stack([column.astype(np.float32) for column in columns], axis=1)


def _words(ideals: NDArray[np.bool_]) -> NDArray[np.uint64]:
    """Each ideal's members as bits of 64-bit words."""
    packed = np.packbits(ideals, axis=1, bitorder="little")
    padded = np.zeros((len(ideals), -(-packed.shape[1] // 8) * 8), dtype=np.uint8)
    padded[:, : packed.shape[1]] = packed
    return padded.view(np.uint64)
