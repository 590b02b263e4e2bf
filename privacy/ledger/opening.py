"""What a ledger is found in when a process starts, against the audit log: the larger sum counts, for each account.

A ledger that lacks, or that was restored to an earlier state, is brought up to what the audit log says. A ledger of
another log, or one that knows more of its log than is there, is refused. Reservations that were under way stay spent.
"""

import fcntl
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from privacy.audit.log import AuditLog
from privacy.errors import LedgerError
from privacy.ledger.book import Book, is_past, lifetime_of
from privacy.ledger.file import LedgerFile, set_meta, set_spent
from privacy.ledger.writer import Batch, commit


@dataclass(frozen=True, slots=True)
class Reconciled:
    """A ledger that is ready to be charged on, and the latest time that it knows of."""

    file: LedgerFile
    book: Book
    seconds: int


def locked(path: Path) -> int:
    """A descriptor that holds the ledger for this process. Raises LedgerError where another holds it."""
    lock = path.with_name(path.name + ".lock")
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(lock, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as reason:
        raise LedgerError(f"The ledger's lock {lock} cannot be opened: {reason.strerror}") from None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        raise LedgerError(f"The ledger {path} is held by another process: stop that one first") from None
    return descriptor


def reconciled(path: Path, audit: AuditLog) -> Reconciled:
    """Open the ledger's file and agree it with the audit log, durably. Raises LedgerError where they contradict."""
    file = LedgerFile(path)
    try:
        meta = file.meta()
        _check_same_log(path, meta, audit)
        seconds = max(audit.at_seconds, meta.get("at_seconds", 0))
        book, raised = _larger_sums(file, audit, seconds)
        _write_start(file, audit, Batch(book, seconds), raised, _state(meta, audit))
    except BaseException:
        file.close()
        raise
    return Reconciled(file, book, seconds)


def _check_same_log(path: Path, meta: dict[str, Any], audit: AuditLog) -> None:
    if not meta:
        return
    if meta.get("log_id") != audit.log_id:
        raise LedgerError(
            f"The ledger {path} belongs to another audit log than {audit.path}: that log was deleted or replaced; "
            "restore it"
        )
    if not audit.holds(meta.get("head", b""), meta.get("head_offset", 0)):
        raise LedgerError(
            f"The audit log {audit.path} lacks what the ledger {path} saw in it: the log was cut back; restore the "
            "newest copy of it"
        )


def _state(meta: dict[str, Any], audit: AuditLog) -> str:
    if meta:
        return "known"
    return "new" if audit.was_new else "made anew from this log"


def _larger_sums(file: LedgerFile, audit: AuditLog, seconds: int) -> tuple[Book, list[tuple[str, str]]]:
    """The book, and the places at which the log knew of more than the ledger."""
    rows = file.rows('SELECT account, "window", nanorho FROM spent')
    spent = {(account, window): nanorho for account, window, nanorho in rows}
    raised = [place for place, nanorho in audit.spent_on_opening.items() if nanorho > spent.get(place, 0)]
    spent.update({place: audit.spent_on_opening[place] for place in raised})
    lifetimes = {account: lifetime_of(window) for account, window in spent.keys() | audit.spent_on_opening.keys()}
    book = Book(spent, lifetimes)
    book.forget_before(seconds)
    return book, [place for place in raised if place in book.spent]


def _write_start(file: LedgerFile, audit: AuditLog, batch: Batch, raised: list[tuple[str, str]], state: str) -> None:
    lost = file.rows("SELECT count(*) FROM reserved")[0][0]
    windows = {window for (window,) in file.rows('SELECT DISTINCT "window" FROM spent')}
    for window in sorted(windows):
        if is_past(window, batch.seconds):
            batch.changes += [(f'DELETE FROM {table} WHERE "window" = ?', (window,)) for table in ("spent", "events")]
    batch.changes += [("DELETE FROM reserved", ()), set_meta("log_id", audit.log_id)]
    batch.changes += [set_spent(*place, batch.book.spent[place]) for place in raised]
    batch.record("ledger", {"state": state, "raised_accounts": len(raised), "lost_reservations": lost})
    commit(audit, file, batch)
