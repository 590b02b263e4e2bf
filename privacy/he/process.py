"""One worker process as its gateway sees it: start, ask within a time, end. Knows nothing of what is asked."""

import json
import os
import select
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, NoReturn

from privacy.errors import EncryptionError
from privacy.he.frames import FrameError, receive_frame, send_frame
from privacy.he.limits import Limits

_MOST_ANSWER_BYTES = 256 * 2**20
_POLL_SECONDS = 0.25
#: How many times longer than its CPU time a job may take in all, where others keep the cores.
_PATIENCE = 10
#: All that a worker gets of the gateway's environment: no secret is among it.
_ENVIRONMENT = ("PATH", "LD_LIBRARY_PATH", "LANG", "VIRTUAL_ENV")


class LostWorkerError(EncryptionError):
    """The worker ended, or was ended for taking too long, while it did the job."""


class WorkerProcess:
    """A confined process that does one job at a time. Not for several threads at once."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        ours, theirs = socket.socketpair()
        arguments = [sys.executable, "-m", "privacy.he.worker", str(theirs.fileno()), json.dumps(asdict(limits))]
        with theirs:
            self._process = subprocess.Popen(
                arguments,
                pass_fds=(theirs.fileno(),),
                env=_environment(),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
        self._channel = ours
        self._receive(time.monotonic() + limits.start_seconds)

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def is_alive(self) -> bool:
        return self._process.poll() is None

    def ask(
        self, header: dict[str, Any], parts: Sequence[bytes] = (), seconds: float | None = None
    ) -> tuple[dict[str, Any], list[bytes]]:
        """One job's reply, after at most `seconds` of the worker's CPU time (without: the limits' own).

        Raises EncryptionError where the worker refuses; LostWorkerError where it is no more, or was ended.
        """
        allowed = seconds or self.limits.job_seconds
        deadline = time.monotonic() + _PATIENCE * allowed
        spent = self._cpu_seconds() + allowed
        try:
            send_frame(self._channel, header, parts, deadline)
        except FrameError:
            self._lost()
        while not select.select([self._channel], [], [], min(_POLL_SECONDS, allowed))[0]:
            if self._cpu_seconds() > spent or time.monotonic() > deadline:
                self._late()
        reply, answers = self._receive(deadline)
        if "refused" in reply:
            raise EncryptionError(str(reply["refused"])[:500])
        return reply, answers

    def close(self) -> None:
        """End the process at once; a second call does nothing."""
        self._channel.close()
        self._process.kill()
        self._process.wait()

    def _receive(self, deadline: float) -> tuple[dict[str, Any], list[bytes]]:
        try:
            return receive_frame(self._channel, _MOST_ANSWER_BYTES, deadline)
        except FrameError:
            self._lost()

    def _cpu_seconds(self) -> float:
        """What the process has computed so far. Counted instead of time that passes: a busy machine is no fault."""
        try:
            fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            return 0.0
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def _late(self) -> NoReturn:
        self.close()
        raise LostWorkerError("the encrypted work took longer than its limit and was ended")

    def _lost(self) -> NoReturn:
        self.close()
        raise LostWorkerError("the worker of encrypted layers ended on this job; it is started again") from None


def _environment() -> dict[str, str]:
    kept = {name: os.environ[name] for name in _ENVIRONMENT if name in os.environ}
    threads = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    return {**kept, **threads, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
