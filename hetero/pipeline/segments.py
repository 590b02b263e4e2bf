"""A stage's slice, cut at its exits: one process compiles all pieces and looks, between two, at which rows may stop.

A cut costs a call of the engine and no hop. Rows that stop are answered at once, and those that go on are closed up and
padded no further than they need. Knows compiled slices, heads and one batch; knows no messages.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from adaptive.measures import Measure, answers
from adaptive.policy import ExitPolicy, ExitView
from hetero.backends.base import CompiledSlice, SliceReport
from hetero.batch import Batch, EncodeBatch, ExitAnswers, ExitRows, FloatArray, LongArray
from hetero.engine.encode_queue import bucket
from hetero.errors import BackendError
from hetero.exits.heads import ExitHead, cosine, pool


@dataclass(frozen=True, slots=True)
class Segment:
    """One compiled piece, and the exit at its end: its head and its number among the policy's; none at the end."""

    slice: CompiledSlice
    last: int
    head: ExitHead | None = None
    number: int = 0


@dataclass(frozen=True, slots=True)
class Stopped:
    """Rows that are answered: class logits float32 [B, C], and what they are the answers of."""

    logits: FloatArray
    answers: ExitAnswers


@dataclass(frozen=True, slots=True)
class Survivors:
    """Rows that go on: the batch closed up, its hidden states float32 [B, L, D], and those pooled at the last cut.

    The hidden states may be the engine's own, until the next run.
    """

    batch: EncodeBatch
    hidden: FloatArray | None
    pooled: FloatArray | None = None


class SegmentedSlice:
    """`CompiledSlice` of several; `ends` where the last one gives the model's own answer.

    `whole` is the same blocks without a cut, for batches that ask no exit: full depth then costs what it always did.
    """

    def __init__(self, whole: CompiledSlice, segments: Sequence[Segment], policy: ExitPolicy, ends: bool) -> None:
        self._whole = whole
        self._segments = tuple(segments)
        self._policy = policy
        self._ends = ends
        slices = {id(each): each for each in (whole, *(segment.slice for segment in segments))}
        self._slices = tuple(slices.values())
        self.report = _joined([each.report for each in self._slices])

    def run(self, batch: Batch, hidden: FloatArray | None) -> FloatArray:
        """All blocks at once, past every exit."""
        return self._whole.run(batch, hidden)

    def __len__(self) -> int:
        return len(self._segments)

    def advance(self, number: int, entering: Survivors) -> tuple[Stopped | None, Survivors | None]:
        """Run piece `number` on rows: those that stop behind it, and those that go on, where there are any."""
        segment, batch = self._segments[number], entering.batch
        before = self._before(segment, entering)
        hidden = segment.slice.run(batch, entering.hidden)
        if segment.head is None:
            return self._last(batch, hidden)
        # Observing the exit costs a reduction and two small products; nobody asks: not even that.
        asked = ~np.isnan(_exits(batch).limits[:, segment.number])
        if not asked.any():
            return None, Survivors(batch, hidden)
        pooled = pool(hidden, batch.attention_mask)
        stop = self._look(segment, segment.head, batch, asked, pooled, before)
        if not stop.any():
            return None, Survivors(batch, hidden, pooled)
        stopped = self._stopped(segment, batch, stop)
        return stopped, None if stop.all() else _closed_up(batch, hidden, pooled, ~stop)

    def _before(self, segment: Segment, entering: Survivors) -> FloatArray | None:
        """What the exit behind the piece compares its pooled states with; None where nobody asks for the comparison."""
        limits = _exits(entering.batch).limits[:, segment.number]
        asked = self._policy.measure is Measure.SATURATION or bool(np.isinf(limits).any())
        if entering.hidden is None or segment.head is None or not asked:
            return None
        pooled = entering.pooled
        return pool(entering.hidden, entering.batch.attention_mask) if pooled is None else pooled

    def _look(
        self,
        segment: Segment,
        head: ExitHead,
        batch: EncodeBatch,
        asked: NDArray[np.bool_],
        pooled: FloatArray,
        before: FloatArray | None,
    ) -> NDArray[np.bool_]:
        """Note what the exit says of the rows that ask it, and which of them stop, [B]."""
        exits, number = _exits(batch), segment.number
        logits = head.logits(pooled)
        # From the embedding there is no state to compare with, and most measures do not.
        saturation = np.zeros(len(pooled), np.float32) if before is None else cosine(before, pooled)
        exits.seen[asked, number, :-1] = logits[asked]
        exits.seen[asked, number, -1] = saturation[asked]
        limits = np.where(asked, exits.limits[:, number], np.inf)
        if np.isinf(limits).all():
            return np.zeros(len(pooled), np.bool_)
        earlier = exits.seen[:, :number, :-1]
        passed = np.where(np.isnan(earlier[:, :, 0]), -1, answers(earlier)) if number else _none(len(pooled))
        return self._policy.decide(ExitView(number, logits, passed, saturation), limits)

    def _stopped(self, segment: Segment, batch: EncodeBatch, stop: NDArray[np.bool_]) -> Stopped:
        exits = _exits(batch)
        seen = exits.seen[stop]
        logits = seen[:, segment.number, :-1] / np.float32(self._policy.temperatures[segment.number])
        return Stopped(logits, ExitAnswers(exits.ids[stop], segment.last, seen))

    def _last(self, batch: EncodeBatch, hidden: FloatArray) -> tuple[Stopped | None, Survivors | None]:
        if not self._ends:
            return None, Survivors(batch, hidden)
        exits = _exits(batch)
        return Stopped(hidden.copy(), ExitAnswers(exits.ids, self._segments[-1].last, exits.seen)), None

    def close(self) -> None:
        for each in self._slices:
            each.close()


def _exits(batch: EncodeBatch) -> ExitRows:
    if batch.exits is None:
        raise BackendError("The batch asks no exit; run it to full depth.")
    return batch.exits


def _none(rows: int) -> LongArray:
    return np.zeros((rows, 0), np.int64)


def _closed_up(batch: EncodeBatch, hidden: FloatArray, pooled: FloatArray, rows: NDArray[np.bool_]) -> Survivors:
    """The chosen rows, padded to the usual length that the longest of them needs."""
    exits = _exits(batch)
    mask = batch.attention_mask[rows]
    longest = int(mask.sum(axis=1).max())
    length = bucket(longest, mask.shape[1])
    kept = ExitRows(exits.ids[rows], exits.limits[rows], exits.seen[rows])
    closed = EncodeBatch(
        batch.batch_id, batch.token_ids[rows, :length], mask[:, :length], batch.token_types[rows, :length], kept
    )
    return Survivors(closed, np.ascontiguousarray(hidden[rows, :length]), pooled[rows])


def _joined(reports: Sequence[SliceReport]) -> SliceReport:
    """One report of all pieces."""
    return replace(
        reports[0],
        weight_bytes=sum(report.weight_bytes for report in reports),
        kv_bytes=sum(report.kv_bytes for report in reports),
        compile_seconds=sum(report.compile_seconds for report in reports),
    )
