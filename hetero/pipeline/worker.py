"""One stage's work: compile a slice, run batches through it, sample at the end.

Knows neither where messages come from nor where they go; `local.py` and `serving.py` do.
"""

import logging
import os
import time
from collections import deque
from dataclasses import replace

from hetero.backends import get_backend
from hetero.backends.base import CompiledSlice, SliceSpec
from hetero.batch import Batch, BatchResult, DecodeBatch, FloatArray
from hetero.engine.sampler import sample
from hetero.errors import BackendError
from hetero.pipeline.base import BATCHES, TRACE, Hidden, Message, unpack_traces

logger = logging.getLogger(__name__)


class StageWorker:
    """Compiles one slice through the registry of engines and processes batches, one at a time.

    Raises ModelError or BackendError where the slice cannot be loaded.
    """

    def __init__(self, spec: SliceSpec, engine: str, is_first: bool, is_last: bool) -> None:
        threads = spec.threads or len(os.sched_getaffinity(0))
        self.is_first = is_first
        self.is_last = is_last
        self._slice = self._compile(replace(spec, threads=threads), engine)
        self._announced: deque[Batch] = deque()
        self.report = self._slice.report

    def _compile(self, spec: SliceSpec, engine: str) -> CompiledSlice:
        return get_backend(engine).compile(spec)

    def process(self, batch: Batch, hidden: FloatArray | None) -> FloatArray | BatchResult:
        """Run one batch: the hidden states for the next stage, or the result from the last one.

        `hidden` is ignored by the first stage. The returned array belongs to the caller until the next call.
        """
        out = self._slice.run(batch, None if self.is_first else hidden)
        return _result_of(batch, out) if self.is_last else out

    def step(self, message: Message, received_at_seconds: float) -> Message | None:
        """Do this stage's part of a message and return what the next stage gets, if anything.

        A batch is kept until its hidden states come, but by the first stage, which starts at once. Results of earlier
        stages (errors) and control words pass unchanged, so that order is kept. An exception of the engine becomes an
        error result, and the stage lives on.
        """
        if isinstance(message, Hidden):
            batch = self._take(message.batch_id)
            return self._run(batch, message.numbers, message.traces, received_at_seconds)
        if isinstance(message, BATCHES):
            if self.is_first:
                return self._run(message, None, b"", received_at_seconds)
            self._announced.append(message)
            return None
        if isinstance(message, BatchResult) and not self.is_first:
            self._take(message.batch_id)
        return message

    def _take(self, batch_id: int) -> Batch:
        batch = self._announced.popleft() if self._announced else None
        if batch is None or batch.batch_id != batch_id:
            raise BackendError(f"hidden states of batch {batch_id} came out of order; restart the pipeline")
        return batch

    def _run(self, batch: Batch, hidden: FloatArray | None, traces: bytes, received_at_seconds: float) -> Message:
        started = time.monotonic()
        try:
            out = self.process(batch, hidden)
        except Exception as error:
            logger.exception("batch %d failed", batch.batch_id)
            out = BatchResult(batch.batch_id, "error", error=(type(error).__name__, str(error)))
        traces += TRACE.pack(received_at_seconds, started, time.monotonic())
        if isinstance(out, BatchResult):
            return replace(out, traces=unpack_traces(traces))
        return Hidden(batch.batch_id, out, traces)

    def close(self) -> None:
        self._slice.close()


def _result_of(batch: Batch, out: FloatArray) -> BatchResult:
    if isinstance(batch, DecodeBatch):
        return BatchResult(batch.batch_id, "decode", tokens=sample(out, batch.sampling))
    return BatchResult(batch.batch_id, "encode", vectors=out.copy())
