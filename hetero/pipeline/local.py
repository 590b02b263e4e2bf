"""The stages of a plan in this process, a thread each: for scripts, tests and machines without Ray.

Knows no sockets: batches go from thread to thread by queues, in order, and stages overlap like actors do.
"""

import queue
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from threading import Thread

from hetero.backends.base import ExitSpec, KvSpec, SliceSpec
from hetero.batch import Batch, BatchResult
from hetero.cores import own_cores
from hetero.errors import ConfigurationError, StageLostError
from hetero.pipeline.base import Control, Hidden, Message, Progress, check_reports, slice_specs
from hetero.pipeline.making import make_worker
from hetero.pipeline.worker import StageWorker
from placement.types import Plan

Mailbox = queue.SimpleQueue[Message]


class LocalPipeline:
    """A `Pipeline` of threads over the slices of `plan`, all compiled in this process.

    Raises ModelError or BackendError if a slice cannot be loaded or runs otherwise than planned, ConfigurationError for
    a single core of a CPU, to which only a process of its own can keep; then nothing is left.
    """

    def __init__(
        self,
        folder: Path,
        plan: Plan,
        kv: KvSpec | None,
        *,
        threads: int = 0,
        draft_depth: int = 0,
        exits: ExitSpec | None = None,
        on_progress: Progress | None = None,
    ) -> None:
        self._workers: list[StageWorker] = []
        self._threads: list[Thread] = []
        self._closed = False
        try:
            specs = slice_specs(folder, plan, kv, threads, draft_depth, exits)
            self._compile(specs, plan, on_progress or (lambda index, text: None))
            self.reports = tuple(worker.report for worker in self._workers)
            check_reports(plan, self.reports)
        except BaseException:
            self.close()
            raise
        self._start()

    def _compile(self, specs: Sequence[SliceSpec], plan: Plan, progress: Progress) -> None:
        _check_devices(plan)
        last = len(plan.stages) - 1
        for index, spec in enumerate(specs):
            progress(index, "loading")
            self._workers.append(make_worker(spec, plan.stages[index].engine, index == 0, index == last))
            progress(index, "ready")

    def _start(self) -> None:
        self._mailboxes: list[Mailbox] = [queue.SimpleQueue() for _ in range(len(self._workers) + 1)]
        for index, worker in enumerate(self._workers):
            arguments = (worker, self._mailboxes[index], self._mailboxes[index + 1])
            self._threads.append(Thread(target=_serve, args=arguments, name=f"stage-{index}", daemon=True))
            self._threads[-1].start()

    @property
    def depth(self) -> int:
        return len(self._workers)

    def submit(self, batch: Batch) -> None:
        """Send a batch to the first stage. Raises StageLostError once the pipeline is closed."""
        if self._closed:
            raise StageLostError("the pipeline is closed; make a new one")
        self._mailboxes[0].put(batch)

    def collect(self, timeout_seconds: float) -> BatchResult | None:
        """The next result in order, or None after `timeout_seconds`. Raises StageLostError once closed."""
        if self._closed:
            raise StageLostError("the pipeline is closed; make a new one")
        try:
            message = self._mailboxes[-1].get(timeout=timeout_seconds)
        except queue.Empty:
            return None
        return message if isinstance(message, BatchResult) else None

    def close(self) -> None:
        """Let the stages finish what they have, then free them."""
        if self._closed:
            return
        self._closed = True
        if self._threads:
            self._mailboxes[0].put(Control("stop"))
        for thread in self._threads:
            thread.join()
        for worker in self._workers:
            worker.close()


def _serve(worker: StageWorker, inbound: Mailbox, outbound: Mailbox) -> None:
    while True:
        message = _next(worker, inbound)
        if message is None:
            for answer in worker.overdue():
                outbound.put(_own(answer))
            continue
        received_at_seconds = time.monotonic()
        if worker.forwards(message):
            outbound.put(message)
        for answer in worker.answers(message, received_at_seconds):
            outbound.put(_own(answer))
        if isinstance(message, Control) and message.word == "stop":
            return


def _next(worker: StageWorker, inbound: Mailbox) -> Message | None:
    """The next message, or None once the worker has something to say by itself."""
    try:
        return inbound.get(timeout=worker.patience_seconds)
    except queue.Empty:
        return None


def _check_devices(plan: Plan) -> None:
    for stage in plan.stages:
        if own_cores(stage.device):
            raise ConfigurationError(
                f"{stage.device.name} is a part of a CPU, to which a stage in this process cannot keep;"
                " run the stages as processes, without in_process, or place it on the whole CPU"
            )


def _own(message: Message) -> Message:
    """The message with numbers of its own: a slice may overwrite its output before the next stage has read it."""
    return replace(message, numbers=message.numbers.copy()) if isinstance(message, Hidden) else message
