"""One call to an encoder and its texts: what was asked, and what has come back of it so far. Values and a future."""

from concurrent.futures import Future
from typing import TypeVar

import numpy as np

from hetero.batch import FloatArray, IntArray, LongArray
from hetero.engine.flights import Answer
from hetero.exits.control import Limits

T = TypeVar("T")


class Vectors(Future[FloatArray]):
    """float32 [B, D] to come. Once it is done, `depths` int32 [B] are the blocks run for each text, and `seen` float32
    [B, E, C + 1] what its exits gave, where they were asked."""

    def __init__(self) -> None:
        super().__init__()
        self.depths: IntArray = np.zeros(0, np.int32)
        self.seen: FloatArray | None = None


class Call:
    """One call of several texts; its future is done when all of them are answered."""

    __slots__ = ("_depths", "_missing", "_seen", "_vectors", "future", "limits")

    def __init__(self, future: Vectors, count: int, limits: Limits | None) -> None:
        self.future, self.limits = future, limits
        self._vectors: list[FloatArray | None] = [None] * count
        self._seen: list[FloatArray | None] = [None] * count
        self._depths = np.zeros(count, np.int32)
        self._missing = count

    def take(self, index: int, answer: Answer[T], depth: int) -> bool:
        """Keep one answer, in memory of its own; whether it was the last."""
        self._vectors[index] = answer.vector.copy()
        self._seen[index] = None if answer.seen is None else answer.seen.copy()
        self._depths[index] = depth
        self._missing -= 1
        return not self._missing

    def finish(self) -> None:
        """Give the future its result."""
        seen = [each for each in self._seen if each is not None]
        self.future.depths = self._depths
        self.future.seen = np.stack(seen) if len(seen) == len(self._seen) else None
        self.future.set_result(np.stack([each for each in self._vectors if each is not None]))


class Text:
    """One text of a call. `token_ids`, `token_types`: int64 [length], without padding.

    `audited` is the class that an exit gave, where the text runs again to full depth to be compared.
    """

    __slots__ = ("audited", "call", "index", "token_ids", "token_types")

    def __init__(
        self, call: Call, index: int, token_ids: LongArray, token_types: LongArray, audited: int | None = None
    ) -> None:
        self.call, self.index = call, index
        self.token_ids, self.token_types = token_ids, token_types
        self.audited = audited

    @property
    def limits(self) -> Limits | None:
        """Where it may stop; None: nowhere."""
        return None if self.audited is not None else self.call.limits
