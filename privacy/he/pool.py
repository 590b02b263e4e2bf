"""A few workers behind one door: each has every model, dies alone, and is started again.

Threads ask, each waiting for a worker that is idle. The tenants' keys are sent to a worker when it lacks them.
"""

import queue
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

from privacy.errors import EncryptionError
from privacy.he.keys import KeyBundle
from privacy.he.limits import Limits
from privacy.he.planning import encoded_bytes
from privacy.he.process import LostWorkerError, WorkerProcess
from privacy.he.spec import ModelSpec
from privacy.he.transfer import spec_to_parts

#: A worker that cannot be started this often in a row is given up.
_STARTS = 3

#: A worker's interpreter, libraries and one job.
_OWN_BYTES = 192 * 2**20

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Applied:
    """Answers to one ciphertext, and the CPU seconds that they took the worker, reading and writing included."""

    answers: tuple[bytes, ...]
    seconds: float


class Workers(Protocol):
    """Who computes for a gateway: workers of this machine, or of another one."""

    @property
    def pids(self) -> tuple[int, ...]: ...
    def accept(self, name: str, bundle: KeyBundle) -> None: ...
    def apply(self, digest: str, name: str, bundle: Callable[[], KeyBundle], ciphertext: bytes) -> Applied: ...
    def close(self) -> None: ...


class WorkerPool:
    """`count` workers with the models of `specs`. Raises EncryptionError where they cannot be started."""

    def __init__(self, specs: Sequence[ModelSpec], limits: Limits | None = None, count: int = 1) -> None:
        self.limits = limits or Limits()
        _require_memory(specs, self.limits)
        self.restarts = 0
        self._models = [(spec.digest, spec_to_parts(spec)) for spec in specs]
        self._idle: queue.Queue[WorkerProcess | None] = queue.Queue()
        self._lock = threading.Lock()
        self._workers: set[WorkerProcess] = set()
        self._closed = False
        try:
            for _ in range(count):
                self._idle.put(self._start())
        except BaseException:
            self.close()
            raise

    @property
    def pids(self) -> tuple[int, ...]:
        """Process ids of the workers that run now."""
        with self._lock:
            return tuple(sorted(worker.pid for worker in self._workers if worker.is_alive))

    def accept(self, name: str, bundle: KeyBundle) -> None:
        """Let a worker read the keys, under this name. Raises EncryptionError where they are not acceptable."""
        self._with_worker(lambda worker: _give(worker, name, bundle))

    def apply(self, digest: str, name: str, bundle: Callable[[], KeyBundle], ciphertext: bytes) -> Applied:
        """The answers of one model to one ciphertext. `bundle` gives the keys where the worker lacks them.

        Raises EncryptionError where a worker refuses, LostWorkerError where it died of it or took too long.
        """
        return self._with_worker(lambda worker: _apply(worker, digest, name, bundle, ciphertext))

    def peak_bytes(self) -> int:
        """The largest resident memory that an idle worker has had."""
        return self._with_worker(lambda worker: int(worker.ask({"job": "ping"})[0]["peak_bytes"]))

    def close(self) -> None:
        """End all workers; jobs that wait are refused."""
        self._closed = True
        with self._lock:
            workers, self._workers = self._workers, set()
        for worker in workers:
            worker.close()
        self._idle.put(None)

    def _with_worker(self, work: Callable[[WorkerProcess], T]) -> T:
        worker = self._idle.get()
        if worker is None:
            self._idle.put(None)
            raise EncryptionError("there is no worker for encrypted layers; the server is ending, or cannot start one")
        try:
            return work(worker)
        finally:
            if worker.is_alive:
                self._idle.put(worker)
            else:
                threading.Thread(target=self._revive, args=(worker,), daemon=True).start()

    def _revive(self, lost: WorkerProcess) -> None:
        with self._lock:
            self._workers.discard(lost)
            self.restarts += 1
        for _ in range(_STARTS):
            if self._closed:
                return
            try:
                self._idle.put(self._start())
                return
            except EncryptionError:
                continue
        self._idle.put(None)

    def _start(self) -> WorkerProcess:
        worker = WorkerProcess(self.limits)
        with self._lock:
            self._workers.add(worker)
        for digest, parts in self._models:
            worker.ask({"job": "model", "digest": digest}, parts, self.limits.start_seconds)
        if self._closed:
            worker.close()
        return worker


def _require_memory(specs: Sequence[ModelSpec], limits: Limits) -> None:
    """Refuse what cannot fit before it is tried: SEAL waits forever on a lock of its own once memory has run out.

    Where it does come to that, the time limit ends the worker.
    """
    needed = _OWN_BYTES + limits.key_bytes // 2 + sum(encoded_bytes(spec) for spec in specs)
    if needed > limits.memory_bytes:
        raise EncryptionError(
            f"the encrypted models and keys need about {needed / 2**20:.0f} MiB a worker, which may use"
            f" {limits.memory_bytes / 2**20:.0f}; allow more memory, or serve fewer models"
        )


def _give(worker: WorkerProcess, name: str, bundle: KeyBundle) -> None:
    header = {"job": "keys", "keys": name, "parameters": bundle.parameter_name}
    worker.ask(header, (bundle.context, bundle.galois, bundle.relinearisation))


def _apply(
    worker: WorkerProcess, digest: str, name: str, bundle: Callable[[], KeyBundle], ciphertext: bytes
) -> Applied:
    header = {"job": "apply", "digest": digest, "keys": name}
    reply, answers = worker.ask(header, (ciphertext,))
    if reply.get("missing"):
        _give(worker, name, bundle())
        reply, answers = worker.ask(header, (ciphertext,))
    if not answers:
        raise LostWorkerError("the worker gave no answer")
    return Applied(tuple(answers), float(reply["seconds"]))
