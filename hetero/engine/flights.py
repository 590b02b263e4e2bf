"""Which texts of an encoder are on their way through the stages, and which of them a result answers.

A batch comes back whole, or where exits are on in parts, and mixed with rows of others. Knows results; knows neither
who waits for the answers nor what they mean.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

from hetero.batch import MAX_ROWS, BatchResult, FloatArray

T = TypeVar("T")


@dataclass(frozen=True, slots=True, eq=False)
class Answer(Generic[T]):
    """One text's answer: `vector` float32 [D], the blocks run for it (None: all), and what its exits saw [E, C + 1]."""

    text: T
    vector: FloatArray
    depth: int | None
    seen: FloatArray | None


class Flights(Generic[T]):
    """The batches in flight, each until all of its texts are answered."""

    def __init__(self) -> None:
        self._texts: dict[int, dict[int, T]] = {}
        self._whole: dict[int, int] = {}

    def __len__(self) -> int:
        """Batches' worth of texts: a batch of which some are answered counts by what is left of it."""
        return math.ceil(sum(len(left) / self._whole[number] for number, left in self._texts.items()) - 1e-9)

    def begin(self, batch_id: int, texts: list[T]) -> None:
        self._texts[batch_id] = dict(enumerate(texts))
        self._whole[batch_id] = len(texts)

    def end(self, batch_id: int) -> list[T]:
        """The batch will not come back: its texts without an answer, none where it came back before."""
        self._whole.pop(batch_id, None)
        return list(self._texts.pop(batch_id, {}).values())

    def fits(self, result: BatchResult) -> bool:
        """Whether the result has one vector for each of the texts that it is of."""
        expected = len(self._texts.get(result.batch_id, ())) if result.exits is None else len(result.exits.ids)
        return result.vectors is not None and len(result.vectors) == expected

    def answered(self, result: BatchResult) -> Iterator[Answer[T]]:
        """The answers in a result that fits; those of texts whose batch was given up are left out."""
        vectors = result.vectors
        if vectors is None:
            return
        if result.exits is None:
            for whole, vector in zip(self.end(result.batch_id), vectors, strict=True):
                yield Answer(whole, vector, None, None)
            return
        for place, number in enumerate(result.exits.ids.tolist()):
            text = self._take(number)
            if text is not None:
                yield Answer(text, vectors[place], result.exits.depth, result.exits.seen[place])

    def _take(self, number: int) -> T | None:
        batch_id, row = divmod(number, MAX_ROWS)
        texts = self._texts.get(batch_id, {})
        text = texts.pop(row, None)
        if text is not None and not texts:
            del self._texts[batch_id], self._whole[batch_id]
        return text

    def clear(self) -> None:
        self._texts.clear()
        self._whole.clear()
