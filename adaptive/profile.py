"""How deep inputs really went: a histogram of depths, and the share that survives to each block."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ExitProfile:
    """`counts[k]` inputs ended after block k (so many blocks were run for them); the last entry is full depth."""

    counts: tuple[int, ...]

    @property
    def block_count(self) -> int:
        return len(self.counts) - 1

    @property
    def inputs(self) -> int:
        return sum(self.counts)

    @property
    def mean_depth(self) -> float:
        """Blocks run for an input, on average; the model's own depth where nothing was run."""
        if not self.inputs:
            return float(self.block_count)
        return sum(depth * count for depth, count in enumerate(self.counts)) / self.inputs

    def survival(self) -> tuple[float, ...]:
        """For each block the share of inputs that reach it: S_0 = 1, falling. All 1 where nothing was run."""
        left, found = self.inputs, []
        for depth in range(self.block_count):
            left -= self.counts[depth]
            found.append(left / self.inputs if self.inputs else 1.0)
        return tuple(found)

    def exit_share(self, depth: int) -> float:
        """P(exit | reached): of the inputs that get to the exit at `depth`, the share that leaves there."""
        reached = sum(self.counts[depth:])
        return self.counts[depth] / reached if reached else 0.0

    def document(self) -> dict[str, int]:
        """Depths that occur, as JSON has it."""
        return {str(depth): count for depth, count in enumerate(self.counts) if count}


def profile_of(depths: Iterable[int], block_count: int) -> ExitProfile:
    """The profile of inputs that ended at these depths, each from 0 to `block_count`."""
    counts = [0] * (block_count + 1)
    for depth in depths:
        counts[depth] += 1
    return ExitProfile(tuple(counts))


def read_profile(document: Mapping[str, int], block_count: int) -> ExitProfile:
    """What `ExitProfile.document` wrote."""
    return ExitProfile(tuple(int(document.get(str(depth), 0)) for depth in range(block_count + 1)))
