"""One stage's work: compile a slice, run batches through it, sample at the end.

Knows neither where messages come from nor where they go; `local.py` and `serving.py` do.
"""

import logging
import os
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import replace

from hetero.backends import get_backend
from hetero.backends.base import CompiledSlice, SliceSpec
from hetero.batch import Batch, BatchResult, DecodeBatch, FloatArray, LongArray
from hetero.engine.drafts import held, said_early, with_drafts
from hetero.engine.sampler import sample
from hetero.errors import BackendError
from hetero.pipeline.base import BATCHES, TRACE, Hidden, Message, unpack_traces
from hetero.pipeline.drafting import Drafted, Drafter, compile_drafter

logger = logging.getLogger(__name__)


class StageWorker:
    """Compiles one slice through the registry of engines and processes batches, one at a time.

    Raises ModelError or BackendError where the slice cannot be loaded.
    """

    def __init__(self, spec: SliceSpec, engine: str, is_first: bool, is_last: bool) -> None:
        threads = spec.threads or len(os.sched_getaffinity(0))
        self.is_first = is_first
        self.is_last = is_last
        spec = replace(spec, threads=threads)
        self._slice = self._compile(spec, engine)
        self._announced: deque[Batch] = deque()
        self.report = self._slice.report

    def _compile(self, spec: SliceSpec, engine: str) -> CompiledSlice:
        compile_slice = get_backend(engine).compile
        return compile_drafter(spec, compile_slice) if spec.draft_depth else compile_slice(spec)

    @property
    def samples(self) -> bool:
        """Whether the stage needs to know how rows are sampled."""
        return self.is_last or isinstance(self._slice, Drafter)

    def process(
        self, batch: Batch, hidden: FloatArray | None, drafts: LongArray | None = None
    ) -> Drafted | BatchResult:
        """Run one batch: what goes to the next stage, or the result from the last one.

        `hidden` is ignored by the first stage. The returned arrays belong to the caller until the next call.
        """
        out = self._run_slice(batch, hidden, drafts)
        return _result_of(out) if self.is_last else out

    def _run_slice(self, batch: Batch, hidden: FloatArray | None, drafts: LongArray | None) -> Drafted:
        if isinstance(self._slice, Drafter) and isinstance(batch, DecodeBatch):
            return self._slice.run_drafting(batch)
        if drafts is not None and isinstance(batch, DecodeBatch):
            rows, batch = batch.sampling, with_drafts(batch, drafts)
            return Drafted(batch, self._slice.run(batch, hidden), drafts, rows)
        return Drafted(batch, self._slice.run(batch, None if self.is_first else hidden), drafts)

    def step(self, message: Message, received_at_seconds: float) -> Message | None:
        """Do this stage's part of a message and return what the next stage gets, if anything.

        A batch is kept until its hidden states come, but by the first stage, which starts at once. Results of earlier
        stages (errors) and control words pass unchanged, so that order is kept. An exception of the engine becomes an
        error result, and the stage lives on.
        """
        if isinstance(message, Hidden):
            batch = self._take(message.batch_id)
            return self._run(batch, message, received_at_seconds)
        if isinstance(message, BATCHES):
            if self.is_first:
                return self._run(message, None, received_at_seconds)
            self._announced.append(message)
            return None
        if isinstance(message, BatchResult) and not self.is_first and not message.early:
            self._take(message.batch_id)
        return message

    def forwards(self, message: Message) -> bool:
        """Whether the message itself goes on to the next stage, ahead of what comes of it."""
        return isinstance(message, BATCHES) and not self.is_last

    def answers(self, message: Message, received_at_seconds: float) -> Iterator[Message]:
        """`step`, for stages that may have several things to say of one message: what an exit said goes ahead."""
        answer = self.step(message, received_at_seconds)
        drafts = answer.drafts if isinstance(answer, Hidden) and self.is_first else None
        if drafts is not None and isinstance(message, DecodeBatch):
            early = said_early(drafts, message.sampling)
            if early:
                yield BatchResult(message.batch_id, "decode", tokens=early, early=True)
        if answer is not None:
            yield answer

    @property
    def patience_seconds(self) -> float | None:
        """How long the stage may wait for a message before it has something to say by itself; None: for ever."""
        return None

    def overdue(self) -> Iterator[Message]:
        """What there is to say once that time is over."""
        yield from ()

    def _take(self, batch_id: int) -> Batch:
        batch = self._announced.popleft() if self._announced else None
        if batch is None or batch.batch_id != batch_id:
            raise BackendError(f"hidden states of batch {batch_id} came out of order; restart the pipeline")
        return batch

    def _run(self, batch: Batch, entering: Hidden | None, received_at_seconds: float) -> Message:
        started = time.monotonic()
        numbers, traces, drafts = (
            (entering.numbers, entering.traces, entering.drafts) if entering else (None, b"", None)
        )
        out: Drafted | BatchResult
        try:
            out = self.process(batch, numbers, drafts)
        except Exception as error:
            logger.exception("batch %d failed", batch.batch_id)
            out = BatchResult(batch.batch_id, "error", error=(type(error).__name__, str(error)))
        traces += TRACE.pack(received_at_seconds, started, time.monotonic())
        if isinstance(out, BatchResult):
            return replace(out, traces=unpack_traces(traces))
        return Hidden(batch.batch_id, out.hidden, traces, out.drafts)

    def close(self) -> None:
        self._slice.close()


def _result_of(out: Drafted) -> BatchResult:
    batch = out.batch
    if isinstance(batch, DecodeBatch):
        tokens = sample(out.hidden, batch.sampling)
        taken = tokens if out.drafts is None else held(tokens, out.drafts, out.rows)
        return BatchResult(batch.batch_id, "decode", tokens=taken)
    return BatchResult(batch.batch_id, "encode", vectors=out.hidden.copy())
