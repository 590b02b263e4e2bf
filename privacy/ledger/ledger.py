"""The ledger: what each account has spent, charged durably before anything is released, and never forgotten.

A request goes: `reserve` (durable before it returns), sample, `store` (durable before the answer leaves). A process
that dies in between has spent the reservation. One process holds the ledger; its threads share commits. Knows neither
policies nor mechanisms, and of answers only their bytes.
"""

import contextlib
import os
import secrets
from concurrent.futures import Future
from pathlib import Path
from threading import Lock
from types import TracebackType
from typing import Self

from privacy.audit.log import AuditLog
from privacy.audit.reading import NANORHO
from privacy.audit.records import TEXT_LIMIT_CHARACTERS, Fields
from privacy.errors import LedgerError
from privacy.ledger.answers import Answers
from privacy.ledger.book import PER_REQUEST, charged_nanorho, window_of
from privacy.ledger.leases import Leases
from privacy.ledger.opening import locked, reconciled
from privacy.ledger.work import (
    Reservation,
    abandoning,
    event_of_text,
    leasing,
    noting,
    reserving,
    returning,
    storing,
)
from privacy.ledger.writer import GroupWriter
from privacy.types import Account, Charge, Event

ANSWERS_LIMIT_BYTES = 256 * 2**20


class Ledger:
    """Charges accounts. Safe to use from several threads; refused to a second process and to forked children.

    `lease_charges`: how many charges of the same size are taken durably at once, the others then cost no wait; 0 or 1:
    none. A crash forfeits what is left of them. `answers_limit_bytes`: beyond it the oldest answers make room.
    Raises LedgerError on opening where the file is held by another process or contradicts the audit log, and for good
    once a commit has failed.
    """

    def __init__(
        self, path: Path, audit: AuditLog, *, lease_charges: int = 0, answers_limit_bytes: int = ANSWERS_LIMIT_BYTES
    ) -> None:
        self.path, self._audit = path, audit
        self._lease_charges = lease_charges
        self._leases = Leases()
        self._open: set[str] = set()
        self._open_lock = Lock()
        self._lock_descriptor = locked(path)
        try:
            found = reconciled(path, audit)
        except BaseException:
            os.close(self._lock_descriptor)
            raise
        self._file, self._book, self._seconds = found.file, found.book, found.seconds
        self._answers = Answers(found.file, answers_limit_bytes)
        self._writer = GroupWriter(audit, found.file, found.book, self._now)

    def _now(self) -> int:
        """Unix seconds that never go back, so that no window of time comes twice."""
        self._seconds = max(self._seconds, self._audit.at_seconds)
        return self._seconds

    def reserve(self, account: Account, charge: Charge, key: bytes, decision_id: str) -> Reservation:
        """Spend a charge, durably. The answer will be kept under `key`.

        Raises BudgetExhaustedError where it is not covered (nothing is spent then), and LedgerError.
        """
        self._writer.check_usable()
        reservation = Reservation(
            secrets.token_hex(8),
            _checked(account),
            window_of(account.lifetime, self._now()),
            charged_nanorho(charge.rho),
            charge.event,
            key,
            decision_id,
            from_lease=self._lease_charges > 1 and account.lifetime != PER_REQUEST,
        )
        self._charge(reservation)
        with self._open_lock:
            self._open.add(reservation.reservation_id)
        return reservation

    def _charge(self, reservation: Reservation) -> None:
        if not reservation.from_lease:
            self._writer.submit(reserving(reservation)).result()
        elif not self._leases.draw((reservation.account.key, reservation.window), reservation.nanorho):
            self._writer.submit(leasing(reservation, self._lease_charges, self._leases)).result()

    def store(self, reservation: Reservation, answer: bytes) -> None:
        """Keep the answer's bytes, durably; now they may leave. Of a key's answers the first stays.

        Raises LedgerError where the reservation was stored or abandoned before, or the bytes cannot be written.
        """
        self._end(reservation)
        self._writer.submit(storing(reservation, bytes(answer), self._answers)).result()

    def abandon(self, reservation: Reservation) -> None:
        """End a reservation that will have no answer. What was charged stays charged."""
        self._end(reservation)
        self._writer.submit(abandoning(reservation))

    def _end(self, reservation: Reservation) -> None:
        with self._open_lock:
            if reservation.reservation_id not in self._open:
                raise LedgerError(f"The reservation of decision {reservation.decision_id} was ended before")
            self._open.remove(reservation.reservation_id)

    def replay(self, key: bytes) -> bytes | None:
        """The bytes that were stored for an identical request: sending them again costs nothing."""
        self._writer.check_usable()
        found = self._file.rows("SELECT answer FROM answers WHERE key = ?", (key,))
        return found[0][0] if found else None

    def note(self, kind: str, fields: Fields) -> "Future[None]":
        """Have a record written into the audit log; the future ends once it is durable."""
        return self._writer.submit(noting(kind, fields))

    def check_usable(self) -> None:
        """Raise LedgerError where nothing can be charged any more."""
        self._writer.check_usable()

    def spent(self, account: Account) -> float:
        """rho spent in the account's window of now, leases counted in full."""
        window = window_of(account.lifetime, self._now())
        return self._book.spent.get((account.key, window), 0) / NANORHO

    def left(self, account: Account) -> float:
        """rho that requests may still be charged in the window of now, what is left of a lease included."""
        window = window_of(account.lifetime, self._now())
        leased = self._leases.left.get((account.key, window), 0)
        return (self._book.left(account, window) + leased) / NANORHO

    def events(self, account: Account) -> list[Event]:
        """What was released in the window of now, for other accountants. A rebuilt ledger does not know all of it."""
        window = window_of(account.lifetime, self._now())
        query = 'SELECT event, count FROM events WHERE account = ? AND "window" = ?'
        return [event_of_text(text, count) for text, count in self._file.rows(query, (account.key, window))]

    def close(self) -> None:
        """Give back leases, end all commits, let another process have the ledger. Closing twice does nothing."""
        if self._lock_descriptor < 0:
            return
        descriptor, self._lock_descriptor = self._lock_descriptor, -1
        try:
            # What cannot be given back stays spent.
            with contextlib.suppress(LedgerError):
                for place, nanorho in self._leases.take_all().items():
                    self._writer.submit(returning(place, nanorho))
            self._writer.close()
            self._file.close()
        finally:
            os.close(descriptor)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()


def _checked(account: Account) -> Account:
    """Raise LedgerError for an account that could not be told from another in the audit log."""
    key = account.key
    # A lone surrogate is not printable either.
    if len(key) > TEXT_LIMIT_CHARACTERS or not key.isprintable():
        raise LedgerError(
            f"An account's name must be printable, and shorter than {TEXT_LIMIT_CHARACTERS + 1} characters: use another"
        )
    return account
