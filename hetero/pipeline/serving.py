"""A stage in its own process: listens, loads its slice, and serves batches until it is told to stop.

Knows sockets and the worker; knows no Ray, although `actor.py` runs it as a Ray actor.
"""

import gc
import os
import time
from dataclasses import replace
from typing import TYPE_CHECKING

import psutil

from hetero import wire
from hetero.backends.base import SliceReport, SliceSpec
from hetero.cores import keep_to_cores, own_cores
from hetero.pipeline.base import Control
from hetero.pipeline.link import Inbound, LinkClosedError, LinkKeys, Outbound, open_inbound, open_outbound, read

if TYPE_CHECKING:
    from hetero.pipeline.worker import StageWorker


class StageServer:
    """One stage, driven from outside by `load`, `listen` and `serve`, in that order."""

    def __init__(self) -> None:
        self._inbound: Inbound | None = None

    def process_id(self) -> int:
        return os.getpid()

    def load(self, spec: SliceSpec, engine: str, is_first: bool, is_last: bool) -> SliceReport:
        """Compile the slice, on the device's own cores where it is some of a CPU. Raises ModelError or BackendError."""
        if cores := own_cores(spec.device):
            keep_to_cores(cores)
        available = len(os.sched_getaffinity(0))
        threads = min(spec.threads or available, available)
        tune_threads(threads)
        keep_blas_single()
        before_bytes = _resident_bytes()
        self._worker = self._make_worker(replace(spec, threads=threads), engine, is_first, is_last)
        gc.collect()
        gc.freeze()
        return replace(self._worker.report, resident_bytes=max(0, _resident_bytes() - before_bytes))

    def _make_worker(self, spec: SliceSpec, engine: str, is_first: bool, is_last: bool) -> "StageWorker":
        # Engines read the environment when they are loaded, which importing the worker may do.
        from hetero.pipeline.making import make_worker

        return make_worker(spec, engine, is_first, is_last)

    def listen(self, host: str, keys: LinkKeys | None) -> str:
        """Open the inbound end and return its address. Raises ConfigurationError if that fails."""
        self._inbound = open_inbound(host, keys)
        return self._inbound.address

    def serve(self, address: str, keys: LinkKeys | None) -> bool:
        """Process batches in order and send them on to `address`.

        Returns True once the word to stop has been passed on, False if a neighbour is gone.
        """
        assert self._inbound is not None
        outbound = open_outbound(address, keys)
        try:
            return self._loop(self._inbound, outbound)
        except LinkClosedError:
            return False
        finally:
            outbound.close()
            self.close()

    def _loop(self, inbound: Inbound, outbound: Outbound) -> bool:
        worker = self._worker
        while True:
            patience_seconds = worker.patience_seconds
            frames = inbound.receive() if patience_seconds is None else inbound.poll(patience_seconds)
            if frames is None:
                for answer in worker.overdue():
                    outbound.send(wire.encode(answer))
                continue
            received_at_seconds = time.monotonic()
            message = read(frames, with_sampling=worker.samples)
            if worker.forwards(message):
                outbound.send(frames)
            for answer in worker.answers(message, received_at_seconds):
                outbound.send(wire.encode(answer))
            if isinstance(message, Control) and message.word == "stop":
                return True

    def close(self) -> None:
        """Free the slice and the sockets."""
        if self._inbound is not None:
            self._inbound.close()
            self._inbound = None
        if hasattr(self, "_worker"):
            self._worker.close()
            del self._worker


def keep_blas_single() -> None:
    """Let numpy's products, which are small here, run on the calling thread.

    A second thread spins for work between two of them and takes a core from the engine: measured, a third of all time.
    """
    from threadpoolctl import threadpool_limits

    threadpool_limits(1, "blas")


def _resident_bytes() -> int:
    return int(psutil.Process().memory_info().rss)


def tune_threads(threads: int) -> None:
    """Set how this process's OpenMP threads behave, before an engine is loaded.

    Stages take turns on the cores of a node: a thread that spins after its work steals the core that the next stage
    needs at that very moment, so threads sleep at once.
    """
    os.environ["OMP_NUM_THREADS"] = str(threads)
    os.environ["OMP_WAIT_POLICY"] = "PASSIVE"
    os.environ["GOMP_SPINCOUNT"] = "0"
    os.environ["KMP_BLOCKTIME"] = "0"
