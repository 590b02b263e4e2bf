"""The ledger's SQLite file: WAL, full synchronisation, one connection that writes. Rows in and out, no decisions.

What stands in it: what each account spent in each window, which reservations are under way, the answers that were
given, counts of events, and the audit log's head as of the last commit.
"""

import contextlib
import os
import sqlite3
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from privacy.errors import LedgerError

#: A statement and its values.
Change = tuple[str, tuple[Any, ...]]

_VERSION = 1
_SCHEMA = """
CREATE TABLE meta (name TEXT PRIMARY KEY, value) WITHOUT ROWID;
CREATE TABLE spent (account TEXT, "window" TEXT, nanorho INTEGER NOT NULL, PRIMARY KEY (account, "window"))
    WITHOUT ROWID;
CREATE TABLE events (account TEXT, "window" TEXT, event TEXT, count INTEGER NOT NULL,
    PRIMARY KEY (account, "window", event)) WITHOUT ROWID;
CREATE TABLE reserved (reservation TEXT PRIMARY KEY, account TEXT NOT NULL, nanorho INTEGER NOT NULL,
    decision TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE answers (number INTEGER PRIMARY KEY, key BLOB UNIQUE NOT NULL, answer BLOB NOT NULL);
"""


class LedgerFile:
    """Reads and commits rows. Every error of SQLite becomes a LedgerError."""

    def __init__(self, path: Path) -> None:
        self.path = path
        with self._errors():
            os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
            self._writing = _connected(path)
            self._prepare()
            self._reading = _connected(path)
            self._reading.execute("PRAGMA query_only=ON")
        self._read_lock = threading.Lock()

    def _prepare(self) -> None:
        self._writing.execute("PRAGMA journal_mode=WAL")
        self._writing.execute("PRAGMA synchronous=FULL")
        version = self._writing.execute("PRAGMA user_version").fetchone()[0]
        if version == 0:
            self._writing.executescript(f"BEGIN; {_SCHEMA} PRAGMA user_version={_VERSION}; COMMIT;")
        elif version != _VERSION:
            raise LedgerError(f"The ledger {self.path} is of version {version}, and this program reads {_VERSION}")
        if self._writing.execute("PRAGMA quick_check").fetchone()[0] != "ok":
            raise sqlite3.DatabaseError("it is damaged")

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError) as reason:
            raise LedgerError(
                f"The ledger {self.path} cannot be used: {reason}; make room or mend the disk and start again, or move "
                "the file away to have it made anew from the audit log"
            ) from None

    def rows(self, query: str, values: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
        """What a query finds. Safe to use from any thread."""
        with self._read_lock, self._errors():
            return self._reading.execute(query, values).fetchall()

    def meta(self) -> dict[str, Any]:
        return dict(self.rows("SELECT name, value FROM meta"))

    def commit(self, changes: Iterable[Change]) -> None:
        """Make all changes or none, durable before this returns. For the one writer alone."""
        with self._errors():
            self._writing.execute("BEGIN IMMEDIATE")
            for statement, values in changes:
                self._writing.execute(statement, values)
            self._writing.execute("COMMIT")

    def close(self) -> None:
        with self._errors(), self._read_lock:
            self._reading.close()
            self._writing.close()


def _connected(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=5.0)


def set_meta(name: str, value: str | int | bytes) -> Change:
    return "INSERT INTO meta VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value", (name, value)


def set_spent(account: str, window: str, nanorho: int) -> Change:
    return 'INSERT OR REPLACE INTO spent (account, "window", nanorho) VALUES (?, ?, ?)', (account, window, nanorho)


def add_event(account: str, window: str, event: str, count: int) -> Change:
    return (
        'INSERT INTO events VALUES (?, ?, ?, ?) ON CONFLICT (account, "window", event) DO UPDATE SET '
        "count = count + excluded.count",
        (account, window, event, count),
    )


def add_reserved(reservation: str, account: str, nanorho: int, decision: str) -> Change:
    return "INSERT INTO reserved VALUES (?, ?, ?, ?)", (reservation, account, nanorho, decision)


def drop_reserved(reservation: str) -> Change:
    return "DELETE FROM reserved WHERE reservation = ?", (reservation,)
