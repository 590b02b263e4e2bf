"""The unfinished requests, for all threads: who is there, and how many have not run yet. Knows nothing of steps."""

from collections.abc import Callable
from dataclasses import dataclass
from threading import Lock

from hetero.engine.output import Output, Stopwatch
from hetero.engine.sequence import Sequence
from hetero.errors import InvalidRequestError, OverloadedError


@dataclass(slots=True, eq=False)
class Job:
    """One unfinished request; `deadline_seconds` is on the clock `time.monotonic`.

    `started`: it has been in a batch; `ended`: its last event is out or about to be.
    """

    sequence: Sequence
    output: Output
    watch: Stopwatch
    deadline_seconds: float | None
    started: bool = False
    ended: bool = False


class Roster:
    """Jobs by request id; at most `max_waiting` that have not started."""

    def __init__(self, max_waiting: int) -> None:
        self._lock = Lock()
        self._jobs: dict[str, Job] = {}
        self._max_waiting = max_waiting
        self._unstarted = 0

    def __len__(self) -> int:
        return len(self._jobs)

    def enter(self, job: Job, hand_over: Callable[[], None]) -> None:
        """Enter a job and hand it over, as one step for whoever asks the roster; not entered where `hand_over` raises.

        Raises InvalidRequestError where the id is taken, OverloadedError where too many wait.
        """
        request_id = job.sequence.request_id
        with self._lock:
            if request_id in self._jobs:
                raise InvalidRequestError(f"a request {request_id} is running already; give each its own id")
            if self._unstarted >= self._max_waiting:
                raise OverloadedError(f"{self._unstarted} requests are waiting already; try again later")
            hand_over()
            self._jobs[request_id] = job
            self._unstarted += 1

    def find(self, request_id: str) -> Job | None:
        with self._lock:
            return self._jobs.get(request_id)

    def everyone(self) -> list[Job]:
        with self._lock:
            return list(self._jobs.values())

    def start(self, job: Job) -> bool:
        """Mark the job as started; False where it was already."""
        if job.started:
            return False
        job.started = True
        with self._lock:
            self._unstarted -= 1
        return True

    def leave(self, job: Job) -> None:
        job.ended = True
        with self._lock:
            del self._jobs[job.sequence.request_id]
            self._unstarted -= not job.started
