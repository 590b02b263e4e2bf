"""Who holds which KV blocks and slots. Numbers only: the memory itself is each stage's own.

Blocks are numbered once for the whole pipeline, so one manager serves every stage.
"""

from collections.abc import Iterable


class Numbers:
    """The numbers [0, count), each free or held. The last freed is taken first: its memory is warm."""

    def __init__(self, count: int) -> None:
        self.count = count
        self._free = list(range(count - 1, -1, -1))
        self._is_free = [True] * count

    @property
    def free_count(self) -> int:
        return len(self._free)

    def take(self, count: int) -> list[int]:
        """`count` free numbers. Raises ValueError where there are fewer: callers look at `free_count` first."""
        if count > len(self._free):
            raise ValueError(f"{count} numbers wanted but {len(self._free)} are free")
        taken = [self._free.pop() for _ in range(count)]
        for number in taken:
            self._is_free[number] = False
        return taken

    def give_back(self, numbers: Iterable[int]) -> None:
        """Raises ValueError where a number is free already: two owners would share it."""
        for number in numbers:
            if self._is_free[number]:
                raise ValueError(f"number {number} was given back twice")
            self._is_free[number] = True
            self._free.append(number)


class BlockManager:
    """The KV blocks of a pipeline: `block_count` blocks of `block_tokens` tokens."""

    def __init__(self, block_count: int, block_tokens: int) -> None:
        self.block_tokens = block_tokens
        self._blocks = Numbers(block_count)

    @property
    def total(self) -> int:
        return self._blocks.count

    @property
    def free(self) -> int:
        return self._blocks.free_count

    def needed(self, tokens: int) -> int:
        """Blocks that hold `tokens` tokens."""
        return -(-tokens // self.block_tokens)

    def grow(self, held: list[int], tokens: int) -> bool:
        """Add to `held` until it holds `tokens` tokens; False, with nothing taken, where too few blocks are free."""
        missing = self.needed(tokens) - len(held)
        if missing > self.free:
            return False
        held += self._blocks.take(max(missing, 0))
        return True

    def release(self, held: list[int]) -> None:
        """Free all of `held` and empty it."""
        self._blocks.give_back(held)
        held.clear()
