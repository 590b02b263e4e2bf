"""How a ragged batch becomes steps of fixed shape: which tokens go together, padded to what, seeing which slots.

Knows arrays and numbers alone; knows no engine and keeps no state.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hetero.backends.static_decoder import StaticShape
from hetero.batch import DecodeBatch

#: Added to the scores of hidden keys: finite in fp16, and far below any score that counts.
HIDDEN = -1e4


@dataclass(frozen=True, slots=True)
class Piece:
    """`count` tokens of one sequence, from `begin` among the batch's T, with `past` tokens before them in `slot`."""

    slot: int
    begin: int
    count: int
    past: int


@dataclass(frozen=True, slots=True)
class StaticSizes:
    """The sizes that a slice may be compiled for, each ascending: rows of decode steps, chunks, and cache slots."""

    rows: tuple[int, ...]
    chunks: tuple[int, ...]
    slots: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class StaticStep:
    """Pieces that one call of the form `shape` computes."""

    shape: StaticShape
    pieces: tuple[Piece, ...]


def slot_buckets(max_context: int, smallest: int = 64) -> tuple[int, ...]:
    """Doubling slot counts up to the whole context, so that a short sequence pays for a short cache."""
    buckets = [smallest]
    while buckets[-1] < max_context:
        buckets.append(buckets[-1] * 2)
    return (*(size for size in buckets if size < max_context), max_context)


def smallest_fitting(sizes: Sequence[int], need: int) -> int:
    """The smallest of the ascending `sizes` that holds `need`, else the largest."""
    return next((size for size in sizes if size >= need), sizes[-1])


def static_steps(batch: DecodeBatch, sizes: StaticSizes) -> Iterator[StaticStep]:
    """Single tokens of several sequences share a step; longer chunks run one piece after another, in their order."""
    pieces = [_whole(batch, i) for i in range(batch.sequence_count)]
    decodes = sorted((piece for piece in pieces if piece.count == 1), key=lambda piece: piece.past)
    widest = sizes.rows[-1]
    for i in range(0, len(decodes), widest):
        group = tuple(decodes[i : i + widest])
        slots = smallest_fitting(sizes.slots, max(piece.past for piece in group))
        yield StaticStep(StaticShape(smallest_fitting(sizes.rows, len(group)), 1, slots), group)
    for piece in pieces:
        if piece.count > 1:
            yield from _chunks(piece, sizes)


def _whole(batch: DecodeBatch, i: int) -> Piece:
    begin, end = int(batch.begins[i]), int(batch.begins[i + 1])
    return Piece(int(batch.slots[i]), begin, end - begin, int(batch.past_lens[i]))


def _chunks(piece: Piece, sizes: StaticSizes) -> Iterator[StaticStep]:
    done = 0
    while done < piece.count:
        chunk = smallest_fitting(sizes.chunks, piece.count - done)
        count, past = min(chunk, piece.count - done), piece.past + done
        shape = StaticShape(1, chunk, smallest_fitting(sizes.slots, past))
        yield StaticStep(shape, (Piece(piece.slot, piece.begin + done, count, past),))
        done += count


def gather_rows(step: StaticStep, values: NDArray[np.float32], dtype: np.dtype[Any]) -> NDArray[Any]:
    """The step's tokens out of `values` [T, N], padded with zeros: [B*C, N]."""
    rows = np.zeros((step.shape.tokens, values.shape[1]), dtype)
    for row, piece in enumerate(step.pieces):
        at = row * step.shape.chunk
        rows[at : at + piece.count] = values[piece.begin : piece.begin + piece.count]
    return rows


def scatter_rows(step: StaticStep, rows: NDArray[Any], into: NDArray[np.float32]) -> None:
    """Write the step's rows [B*C, N] back to their tokens in `into` [T, N]; padding is dropped."""
    for row, piece in enumerate(step.pieces):
        at = row * step.shape.chunk
        into[piece.begin : piece.begin + piece.count] = rows[at : at + piece.count]


def step_mask(step: StaticStep, window: int, group: int, dtype: np.dtype[Any]) -> NDArray[Any]:
    """Additive mask [B, 1, group*C, S+C]: 0 where a token sees a key, `HIDDEN` elsewhere; `window` 0 sees all the past.

    Keys are the S slots (position = slot number) and then the chunk's own C tokens.
    """
    rows, chunk, slots = step.shape.rows, step.shape.chunk, step.shape.slots
    past = np.zeros((rows, 1, 1), np.int64)
    past[: len(step.pieces), 0, 0] = [piece.past for piece in step.pieces]
    own = np.arange(chunk)
    queries = past + own[:, None]
    keys = np.concatenate([np.broadcast_to(np.arange(slots), (rows, 1, slots)), past + own], axis=2)
    unused = np.concatenate([np.arange(slots) >= past, np.zeros((rows, 1, chunk), bool)], axis=2)
    hidden = unused | (keys > queries)
    if window:
        hidden |= keys <= queries - window
    mask = np.where(hidden, HIDDEN, 0.0).astype(dtype)
    return np.tile(mask, (1, group, 1))[:, None]
