"""The one writer: a thread that makes what many callers ask for durable in one go.

While one commit is on its way to the disk, everything that is asked for meanwhile waits and then shares the next one.
A commit is the audit log's append first, then SQLite's: after a crash the chain knows at least what the ledger knows.
Knows nothing of budgets; what is done within a commit is a function of the `Batch`.
"""

import os
import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, TypeVar

from privacy.audit.log import AuditLog
from privacy.audit.records import Fields, checked_fields
from privacy.errors import LedgerError, PrivacyError
from privacy.ledger.book import Book
from privacy.ledger.file import Change, LedgerFile, set_meta

Result = TypeVar("Result")
_MOST_IN_ONE_COMMIT = 256


@dataclass(slots=True)
class Batch:
    """What one commit will make durable, and the time that it counts in."""

    book: Book
    seconds: int
    records: list[tuple[str, Fields]] = field(default_factory=list)
    changes: list[Change] = field(default_factory=list)
    #: Of leases that this commit makes: what nobody in it has drawn yet, by (account's key, window).
    leased: dict[tuple[str, str], int] = field(default_factory=dict)
    #: Called once the commit is durable.
    afterwards: list[Callable[[], None]] = field(default_factory=list)

    def record(self, kind: str, fields: Fields) -> None:
        """Add a record. Raises AuditError for fields that no record may hold."""
        self.records.append((kind, checked_fields(fields)))

    def draw(self, place: tuple[str, str], nanorho: int) -> bool:
        """Take from a lease that becomes durable together with who takes; False where less is left of it."""
        left = self.leased.get(place, 0)
        if left < nanorho:
            return False
        self.leased[place] = left - nanorho
        return True


#: Adds to a batch and answers, or raises before it has added anything.
Work = Callable[[Batch], Result]


def commit(audit: AuditLog, file: LedgerFile, batch: Batch) -> None:
    """Append the records, then commit the rows with the log's new head."""
    if batch.records:
        audit.append_many(batch.records)
    head = set_meta("head", audit.head.line), set_meta("head_offset", audit.head.offset)
    file.commit([*batch.changes, *head, set_meta("at_seconds", batch.seconds)])


class GroupWriter:
    """Runs work in commits. Once a commit has failed, all further work is refused with LedgerError."""

    def __init__(self, audit: AuditLog, file: LedgerFile, book: Book, now: Callable[[], int]) -> None:
        self._audit, self._file, self._book, self._now = audit, file, book, now
        self._queue: queue.SimpleQueue[tuple[Work[Any], Future[Any]] | None] = queue.SimpleQueue()
        self._process_id = os.getpid()
        self._lock = threading.Lock()
        self._refusal = ""
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="hetero-ledger", daemon=True)
        self._thread.start()

    def check_usable(self) -> None:
        """Raise LedgerError after a failed commit, after closing, and in a forked child."""
        if os.getpid() != self._process_id:
            raise LedgerError("The ledger belongs to the process that opened it: a forked child must not charge on it")
        if self._refusal or self._closed:
            raise LedgerError(self._refusal or "The ledger was closed")

    def submit(self, work: Work[Result]) -> Future[Result]:
        """Have the work done in one of the next commits; the future ends once that is durable, or has failed."""
        future: Future[Result] = Future()
        with self._lock:
            self.check_usable()
            self._queue.put((work, future))
        return future

    def _run(self) -> None:
        while waiting := self._next_group():
            self._do(waiting)

    def _next_group(self) -> list[tuple[Work[Any], Future[Any]]]:
        """Blocks for the first; takes what else is there. Empty once the writer was closed and all is done."""
        group = []
        entry = self._queue.get()
        while entry is not None:
            group.append(entry)
            if self._queue.empty() or len(group) == _MOST_IN_ONE_COMMIT:
                return group
            entry = self._queue.get()
        if group:
            self._queue.put(None)
        return group

    def _do(self, group: list[tuple[Work[Any], Future[Any]]]) -> None:
        try:
            batch = Batch(self._book, self._now())
            self._book.tidy(batch.seconds)
            answers = [(future, *_attempt(work, batch)) for work, future in group]
            self._finish(batch)
        except Exception as error:
            self._refuse_all(error, group)
            return
        for future, answer, failure in answers:
            _settle(future, answer, failure)

    def _finish(self, batch: Batch) -> None:
        if self._refusal:
            raise LedgerError(self._refusal)
        if batch.records or batch.changes:
            commit(self._audit, self._file, batch)
        for follow_up in batch.afterwards:
            follow_up()

    def _refuse_all(self, error: Exception, group: list[tuple[Work[Any], Future[Any]]]) -> None:
        reason = str(error) if isinstance(error, PrivacyError) else type(error).__name__
        self._refusal = self._refusal or f"The ledger could not be written and charges nothing more: {reason}"
        for _, future in group:
            _settle(future, None, LedgerError(self._refusal))

    def close(self) -> None:
        """Do what was asked for, and nothing after."""
        with self._lock:
            self._closed = True
            self._queue.put(None)
        self._thread.join()


def _attempt(work: Work[Any], batch: Batch) -> tuple[Any, Exception | None]:
    try:
        return work(batch), None
    except PrivacyError as error:
        return None, error
    except Exception as error:
        return None, LedgerError(f"The ledger refused what it could not understand ({type(error).__name__})")


def _settle(future: Future[Any], answer: Any, error: Exception | None) -> None:
    if error is not None:
        future.set_exception(error)
    else:
        future.set_result(answer)
