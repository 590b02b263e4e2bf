"""Loads of all differences of two ideals of a workload, from matrix products instead of one pair after the other.

With 0/1 rows of ideals the transfers of every pair are two products: one for those out of `larger - smaller`, one for
those into it. Single precision is enough to choose by; what is reported is counted again from the definition.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from placement.workload import Workload

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
        """Columns whose products give the transfers of every pair.

        Out of `larger - smaller`: sources in it with a target outside `larger`. Into it: sources in `smaller` with more
        targets within `larger` than within `smaller`; with t targets already reached, one column for each t.
        """
        small: list[Floats] = []
        large: list[Floats] = []
        open_cost: list[Floats] = []
        sources: list[Floats] = []
        for transfer in (each for each in workload.transfers if each.milliseconds > 0):
            reached = member[:, list(transfer.targets)].sum(axis=1)
            has_source = member[:, transfer.source]
            open_cost.append(transfer.milliseconds * (has_source * (reached < len(transfer.targets))))
            sources.append(has_source)
            for t in range(len(transfer.targets)):
                small.append(transfer.milliseconds * (has_source * (reached == t)))
                large.append((reached >= t + 1).astype(np.float32))
        rows = len(self.ideals)
        self.open_cost, self.sources = _columns(open_cost, rows), _columns(sources, rows)
        self.incoming_small, self.incoming_large = _columns(small, rows), _columns(large, rows)
        self.open_sum = self.open_cost.sum(axis=1)

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
        leaving = self.open_sum[larger, None] - self.open_cost[larger] @ self.sources[smaller].T
        entering = self.incoming_large[larger] @ self.incoming_small[smaller].T
        accelerator = self.accelerator[larger, None] - self.accelerator[None, smaller] + leaving + entering
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
