"""The payloads of an encoder's batches, and of its results where exits are on: whole numbers first, then float32.

Knows their fields; `wire_body.py` gives them kinds. Sizes are checked against the counts before anything is read.
"""

import math
from collections.abc import Sequence

import numpy as np

from hetero.batch import EncodeBatch, ExitAnswers, ExitRows, FloatArray, LongArray

Frame = bytes | bytearray | memoryview
Counts = tuple[int, int, int, int, int]


def pack_encode(batch: EncodeBatch) -> tuple[Counts, bytes]:
    """Counts: rows, length, and where exits are on, how many there are and how many numbers one gives."""
    rows, length = batch.token_ids.shape
    parts = [_whole(array) for array in (batch.token_ids, batch.attention_mask, batch.token_types)]
    exits = batch.exits
    if exits is None:
        return (rows, length, 0, 0, 0), b"".join(parts)
    _, exit_count, width = exits.seen.shape
    parts += [_whole(exits.ids), _real(exits.limits), _real(exits.seen)]
    return (rows, length, exit_count, width, 0), b"".join(parts)


def read_encode(counts: Sequence[int], payload: Frame, number: int, with_exits: bool) -> EncodeBatch:
    """Raises ValueError unless the payload is exactly what the counts say."""
    rows, length, exit_count, width, _ = counts
    data = _Reader(payload)
    token_ids, mask, types = (data.whole(rows, length) for _ in range(3))
    exits = None
    if with_exits:
        exits = ExitRows(data.whole(rows), data.real(rows, exit_count), data.real(rows, exit_count, width))
    data.end()
    return EncodeBatch(number, token_ids, mask, types, exits)


def pack_answers(vectors: FloatArray, exits: ExitAnswers) -> tuple[Counts, bytes]:
    """Counts: rows, numbers an answer, exits, numbers an exit gives, depth."""
    rows, classes = vectors.shape
    _, exit_count, width = exits.seen.shape
    return (rows, classes, exit_count, width, exits.depth), _whole(exits.ids) + _real(vectors) + _real(exits.seen)


def read_answers(counts: Sequence[int], payload: Frame) -> tuple[FloatArray, ExitAnswers]:
    """Raises ValueError unless the payload is exactly what the counts say."""
    rows, classes, exit_count, width, depth = counts
    data = _Reader(payload)
    ids = data.whole(rows)
    vectors = data.real(rows, classes)
    seen = data.real(rows, exit_count, width)
    data.end()
    return vectors, ExitAnswers(ids, depth, seen)


def _whole(array: LongArray) -> bytes:
    return array.astype("<i8", copy=False).tobytes()


def _real(array: FloatArray) -> bytes:
    return array.astype("<f4", copy=False).tobytes()


class _Reader:
    """Arrays of a payload in order; a copy, so that they are aligned and writable."""

    def __init__(self, payload: Frame) -> None:
        self._data = bytearray(payload)
        self._at = 0

    def whole(self, *shape: int) -> LongArray:
        return np.frombuffer(self._data, np.dtype("<i8"), math.prod(shape), self._take(8, shape)).reshape(shape)

    def real(self, *shape: int) -> FloatArray:
        return np.frombuffer(self._data, np.dtype("<f4"), math.prod(shape), self._take(4, shape)).reshape(shape)

    def _take(self, size: int, shape: tuple[int, ...]) -> int:
        begin, self._at = self._at, self._at + size * math.prod(shape)
        if self._at > len(self._data):
            raise ValueError(f"a body of {len(self._data)} bytes is shorter than declared")
        return begin

    def end(self) -> None:
        if self._at != len(self._data):
            raise ValueError(f"a body of {len(self._data)} bytes where {self._at} are declared")
