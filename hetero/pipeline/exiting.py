"""One stage's work where the model has exits: rows are answered where they stop, and the others go on, closed up.

A batch whose rows ask no exit goes the usual way of `worker.py`, past every exit. Knows messages and segments; knows
neither policies nor where limits come from.
"""

import logging
import time
from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from hetero.backends.base import CompiledSlice, SliceSpec
from hetero.batch import MAX_ROWS, BatchResult, EncodeBatch
from hetero.errors import BackendError, ModelError
from hetero.exits.identity import file_digest
from hetero.exits.storage import HEADS, exits_folder, load_heads
from hetero.models.config import EncoderConfig
from hetero.models.config_reader import read_config
from hetero.pipeline.base import TRACE, Control, Hidden, Message, unpack_traces
from hetero.pipeline.reforming import Group, ReformBuffer, blank
from hetero.pipeline.segments import Segment, SegmentedSlice, Survivors
from hetero.pipeline.worker import StageWorker

logger = logging.getLogger(__name__)

#: As many texts as a device of fixed shapes takes at once, and how long one of them waits for others at most.
_STATIC_ROWS, _STATIC_WAIT_SECONDS = 4, 0.005
#: Elsewhere from so many rows on a call of the engine costs little beside them. Rows wait only while the stage has
#: other work, and no longer than this.
_ROWS, _WAIT_SECONDS = 12, 0.3


class ExitingWorker(StageWorker):
    """A `StageWorker` on a slice that is cut at the exits inside it.

    Raises ModelError where the exits are not those that the engine speaks of.
    """

    def __init__(self, spec: SliceSpec, engine: str, is_first: bool, is_last: bool) -> None:
        super().__init__(spec, engine, is_first, is_last)
        self._survivors: dict[int, EncodeBatch] = {}
        self._static = spec.device.static_shapes
        rows, seconds = (_STATIC_ROWS, _STATIC_WAIT_SECONDS) if self._static else (_ROWS, _WAIT_SECONDS)
        #: Before each piece, rows that wait for others; a whole batch does not wait before the stage's first piece.
        self._waiting = [ReformBuffer(rows, seconds, self._static) for _ in range(len(self._segmented))]

    def _compile(self, spec: SliceSpec, engine: str) -> CompiledSlice:
        config = read_config(spec.folder)
        if spec.exits is None or not isinstance(config, EncoderConfig):
            raise BackendError("Exits are cut into encoders, where the engine names them.")
        if file_digest(exits_folder(spec.folder) / HEADS) != spec.exits.digest:
            raise ModelError(f"{spec.folder} holds other exits on this node; copy the model's folder to every node")
        policy = spec.exits.policy
        own = tuple(depth for depth in spec.exits.cuts if spec.first < depth <= spec.last)
        heads = {head.depth: head for head in load_heads(spec.folder, config, own)}
        begins = [spec.first, *(depth for depth in own if depth < spec.last)]
        ends = [*begins[1:], spec.last]
        compiled = super()._compile
        whole = compiled(replace(spec, exits=None), engine)
        segments = [
            Segment(
                whole if len(begins) == 1 else compiled(replace(spec, exits=None, first=begin, last=end), engine),
                end,
                heads.get(end),
                policy.depths.index(end) if end in heads else 0,
            )
            for begin, end in zip(begins, ends, strict=True)
        ]
        self._segmented = SegmentedSlice(whole, segments, policy, self.is_last)
        return self._segmented

    def forwards(self, message: Message) -> bool:
        exiting = isinstance(message, EncodeBatch) and message.exits is not None
        return not exiting and super().forwards(message)

    def answers(self, message: Message, received_at_seconds: float) -> Iterator[Message]:
        if isinstance(message, EncodeBatch) and message.exits is not None:
            if self.is_first:
                yield from self._burst(0, Group(message, np.zeros(0, np.float32), b""), received_at_seconds)
            else:
                self._survivors[message.batch_id] = message
        elif isinstance(message, Hidden) and message.batch_id in self._survivors:
            group = Group(self._survivors.pop(message.batch_id), message.numbers, message.traces)
            yield from self._go_on(0, group) if self._static else self._burst(0, group, received_at_seconds)
        elif isinstance(message, BatchResult) and message.batch_id not in {each.batch_id for each in self._announced}:
            yield message
        else:
            if isinstance(message, Control):
                yield from self._finish()
            yield from super().answers(message, received_at_seconds)
        for number, buffer in enumerate(self._waiting):
            for group in buffer.overdue():
                yield from self._burst(number, group, time.monotonic())

    @property
    def patience_seconds(self) -> float | None:
        """Rows wait while there is other work; fixed shapes are worth a wait of their own."""
        times = [each.patience_seconds for each in self._waiting if each]
        known = [seconds for seconds in times if seconds is not None]
        if not known:
            return None
        return min(known) if self._static else 0.0

    def overdue(self) -> Iterator[Message]:
        """One group, of the first piece before which rows wait: what survives it may join those before the next."""
        for number, buffer in enumerate(self._waiting):
            groups = buffer.overdue() if self._static else filter(None, [buffer.one()])
            for group in groups:
                yield from self._burst(number, group, time.monotonic())
                return

    def _finish(self) -> Iterator[Message]:
        """Run everything that waits: no more will come."""
        for number, buffer in enumerate(self._waiting):
            while (group := buffer.one()) is not None:
                yield from self._burst(number, group, time.monotonic())

    def _go_on(self, number: int, group: Group) -> Iterator[Message]:
        """Rows before piece `number`: wait for others, or run with those that are there."""
        hidden = group.hidden
        # What is the engine's own, or a link's, is overwritten before the rows run.
        kept = group if hidden.flags.owndata else replace(group, hidden=hidden.copy())
        for ready in self._waiting[number].add(kept):
            yield from self._burst(number, ready, time.monotonic())

    def _burst(self, number: int, group: Group, received_at_seconds: float) -> Iterator[Message]:
        """Run a group through one piece. One message carries the time, so that none is counted twice."""
        batch, started = group.batch, time.monotonic()
        first = self.is_first and number == 0
        try:
            entering = Survivors(batch, None if first else group.hidden, group.pooled)
            stopped, rest = self._segmented.advance(number, entering)
        except Exception as error:
            logger.exception("batch %d failed", batch.batch_id)
            yield from _failures(batch, error)
            return
        traces = self._timed(number, group.traces, received_at_seconds, started)
        if stopped is not None:
            result = BatchResult(batch.batch_id, "encode", vectors=stopped.logits, exits=stopped.answers)
            yield replace(result, traces=unpack_traces(traces))
            traces = blank(traces)
        if rest is None or rest.hidden is None:
            return
        if number + 1 < len(self._segmented):
            yield from self._go_on(number + 1, Group(rest.batch, rest.hidden, traces, rest.pooled))
        else:
            yield rest.batch
            yield Hidden(rest.batch.batch_id, rest.hidden, traces)

    def _timed(self, number: int, traces: bytes, received_at_seconds: float, started: float) -> bytes:
        """The traces with this stage's own, which grows from piece to piece."""
        if number == 0:
            return traces + TRACE.pack(received_at_seconds, started, time.monotonic())
        _, began, ended = TRACE.unpack(traces[-TRACE.size :])
        return traces[: -TRACE.size] + TRACE.pack(0.0, 0.0, ended - began + time.monotonic() - started)


def _failures(batch: EncodeBatch, error: Exception) -> Iterator[BatchResult]:
    """One result for each of the engine's batches that had a row in this one."""
    assert batch.exits is not None
    for number in np.unique(batch.exits.ids // MAX_ROWS).tolist():
        yield BatchResult(number, "error", error=(type(error).__name__, str(error)))
