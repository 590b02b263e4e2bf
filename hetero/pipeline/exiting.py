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
from hetero.pipeline.segments import Segment, SegmentedSlice, Stopped
from hetero.pipeline.worker import StageWorker

logger = logging.getLogger(__name__)

#: As many texts as a device of fixed shapes takes at once.
_STATIC_ROWS = 4


class ExitingWorker(StageWorker):
    """A `StageWorker` on a slice that is cut at the exits inside it.

    Raises ModelError where the exits are not those that the engine speaks of.
    """

    def __init__(self, spec: SliceSpec, engine: str, is_first: bool, is_last: bool) -> None:
        super().__init__(spec, engine, is_first, is_last)
        self._survivors: dict[int, EncodeBatch] = {}
        self._buffer = ReformBuffer(_STATIC_ROWS) if spec.device.static_shapes and not is_first else None

    def _compile(self, spec: SliceSpec, engine: str) -> CompiledSlice:
        config = read_config(spec.folder)
        if spec.exits is None or not isinstance(config, EncoderConfig):
            raise BackendError("Exits are cut into encoders, where the engine names them.")
        if file_digest(exits_folder(spec.folder) / HEADS) != spec.exits.digest:
            raise ModelError(f"{spec.folder} holds other exits on this node; copy the model's folder to every node")
        policy = spec.exits.policy
        own = tuple(depth for depth in policy.depths if spec.first < depth <= spec.last)
        heads = {head.depth: head for head in load_heads(spec.folder, config, own)}
        begins = [spec.first, *(depth for depth in own if depth < spec.last)]
        ends = [*begins[1:], spec.last]
        bare = replace(spec, exits=None)
        segments = [
            Segment(
                super(ExitingWorker, self)._compile(replace(bare, first=begin, last=end), engine),
                end,
                heads.get(end),
                policy.depths.index(end) if end in heads else 0,
            )
            for begin, end in zip(begins, ends, strict=True)
        ]
        self._segmented = SegmentedSlice(segments, policy, self.is_last)
        return self._segmented

    def forwards(self, message: Message) -> bool:
        exiting = isinstance(message, EncodeBatch) and message.exits is not None
        return not exiting and super().forwards(message)

    def answers(self, message: Message, received_at_seconds: float) -> Iterator[Message]:
        if isinstance(message, EncodeBatch) and message.exits is not None:
            if self.is_first:
                yield from self._burst(Group(message, np.zeros(0, np.float32), b""), received_at_seconds)
            else:
                self._survivors[message.batch_id] = message
        elif isinstance(message, Hidden) and message.batch_id in self._survivors:
            group = Group(self._survivors.pop(message.batch_id), message.numbers, message.traces)
            for ready in [group] if self._buffer is None else self._buffer.add(_own(group)):
                yield from self._burst(ready, received_at_seconds)
        elif isinstance(message, BatchResult) and message.batch_id not in {each.batch_id for each in self._announced}:
            yield message
        else:
            if isinstance(message, Control) and self._buffer is not None:
                yield from self._run_all(self._buffer.all())
            yield from super().answers(message, received_at_seconds)
        yield from self.overdue()

    @property
    def patience_seconds(self) -> float | None:
        return self._buffer.patience_seconds if self._buffer else None

    def overdue(self) -> Iterator[Message]:
        if self._buffer is not None:
            yield from self._run_all(self._buffer.overdue())

    def _run_all(self, groups: Iterator[Group]) -> Iterator[Message]:
        for group in groups:
            yield from self._burst(group, time.monotonic())

    def _burst(self, group: Group, received_at_seconds: float) -> Iterator[Message]:
        """Run a group. Each message carries the time since the one before, so that none is counted twice."""
        batch, earlier, started = group.batch, group.traces, time.monotonic()
        try:
            for part in self._segmented.stops(batch, None if self.is_first else group.hidden):
                traces = earlier + TRACE.pack(received_at_seconds, started, time.monotonic())
                if isinstance(part, Stopped):
                    found = BatchResult(batch.batch_id, "encode", vectors=part.logits, exits=part.answers)
                    yield replace(found, traces=unpack_traces(traces))
                else:
                    yield part.batch
                    yield Hidden(batch.batch_id, part.hidden, traces)
                earlier, started = blank(earlier), time.monotonic()
        except Exception as error:
            logger.exception("batch %d failed", batch.batch_id)
            yield from _failures(batch, error)


def _failures(batch: EncodeBatch, error: Exception) -> Iterator[BatchResult]:
    """One result for each of the engine's batches that had a row in this one."""
    assert batch.exits is not None
    for number in np.unique(batch.exits.ids // MAX_ROWS).tolist():
        yield BatchResult(number, "error", error=(type(error).__name__, str(error)))


def _own(group: Group) -> Group:
    """Hidden states that stay while the group waits: those of a link lie in its buffer."""
    return replace(group, hidden=group.hidden.copy())
