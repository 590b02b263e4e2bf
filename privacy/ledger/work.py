"""What is done within one commit: reserving, leasing, storing, abandoning. Each either raises or adds to the batch.

Knows budgets by their book; neither threads nor files.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass

from privacy.audit.records import Fields
from privacy.errors import PrivacyError
from privacy.ledger.answers import Answers
from privacy.ledger.book import cap_nanorho
from privacy.ledger.file import (
    add_event,
    add_reserved,
    drop_reserved,
    set_spent,
)
from privacy.ledger.leases import Leases
from privacy.ledger.writer import Batch, Work
from privacy.types import Account, Event


@dataclass(frozen=True, slots=True)
class Reservation:
    """A charge that is durably spent, whatever becomes of the request. The answer's bytes are kept under `key`."""

    reservation_id: str
    account: Account
    window: str
    nanorho: int
    event: Event
    key: bytes
    decision_id: str
    #: Drawn from a lease, which holds the charge; else it has one of its own.
    from_lease: bool = False

    @property
    def rho(self) -> float:
        return self.nanorho / 1e9


def spend(batch: Batch, account: Account, window: str, nanorho: int) -> None:
    """Charge what was checked to be left."""
    if account.key not in batch.book.lifetimes:
        batch.record("account", _account_fields(account))
    batch.book.spend(account, window, nanorho)
    batch.changes.append(set_spent(account.key, window, batch.book.spent[account.key, window]))


def _account_fields(account: Account) -> Fields:
    return {
        "account": account.key,
        "cap_nanorho": cap_nanorho(account.rho_cap),
        "delta": account.delta,
        "lifetime": account.lifetime,
    }


def reserving(reservation: Reservation) -> Work[None]:
    """Charge one request on its own."""

    def work(batch: Batch) -> None:
        account, window, nanorho = reservation.account, reservation.window, reservation.nanorho
        batch.book.check(account, window, nanorho)
        batch.record("reserve", _charge_fields(reservation))
        spend(batch, account, window, nanorho)
        batch.changes.append(add_reserved(reservation.reservation_id, account.key, nanorho, reservation.decision_id))
        batch.changes.append(_event_change(reservation))

    return work


def leasing(reservation: Reservation, charges: int, leases: Leases) -> Work[None]:
    """Charge a block for this request and `charges - 1` of its like, or what is left if that is less."""

    def work(batch: Batch) -> None:
        account, window = reservation.account, reservation.window
        place = (account.key, window)
        if leases.draw(place, reservation.nanorho) or batch.draw(place, reservation.nanorho):
            return
        needed = reservation.nanorho - batch.leased.get(place, 0) - (at_hand := leases.take(place))
        try:
            batch.book.check(account, window, needed)
        except PrivacyError:
            leases.add(place, at_hand)
            raise
        block = min(batch.book.left(account, window), needed + (charges - 1) * reservation.nanorho)
        batch.record("lease", {"account": account.key, "window": window, "nanorho": block})
        spend(batch, account, window, block)
        batch.leased[place] = block - needed
        batch.afterwards.append(lambda: leases.add(place, batch.leased.pop(place, 0)))

    return work


def returning(place: tuple[str, str], nanorho: int) -> Work[None]:
    """Give back what nobody drew from a lease, unless its window is past."""

    def work(batch: Batch) -> None:
        account, window = place
        if place not in batch.book.spent:
            return
        batch.book.spent[place] -= nanorho
        batch.record("return", {"account": account, "window": window, "nanorho": nanorho})
        batch.changes.append(set_spent(account, window, batch.book.spent[place]))

    return work


def storing(reservation: Reservation, answer: bytes, answers: Answers) -> Work[None]:
    """Keep the answer's bytes and end the reservation."""

    def work(batch: Batch) -> None:
        _end(batch, reservation, "release")
        batch.changes += answers.adding(reservation.key, answer)

    return work


def abandoning(reservation: Reservation) -> Work[None]:
    """End a reservation without an answer. The charge stays."""
    return lambda batch: _end(batch, reservation, "abandon")


def noting(kind: str, fields: Fields) -> Work[None]:
    """Write a record into the audit log."""
    return lambda batch: batch.record(kind, fields)


def _end(batch: Batch, reservation: Reservation, kind: str) -> None:
    if reservation.from_lease:
        batch.record(kind, _charge_fields(reservation))
        batch.changes.append(_event_change(reservation))
    else:
        batch.record(kind, {"decision": reservation.decision_id})
        batch.changes.append(drop_reserved(reservation.reservation_id))


def _charge_fields(reservation: Reservation) -> Mapping[str, str | int | float]:
    return {
        "account": reservation.account.key,
        "decision": reservation.decision_id,
        "event": event_text(reservation.event),
        "count": reservation.event.count,
        "nanorho": reservation.nanorho,
        "window": reservation.window,
    }


def _event_change(reservation: Reservation) -> tuple[str, tuple[str | int, ...]]:
    event = reservation.event
    return add_event(reservation.account.key, reservation.window, event_text(event), event.count)


def event_text(event: Event) -> str:
    """An event without its count, as text."""
    return json.dumps([event.kind, [list(parameter) for parameter in event.parameters]], separators=(",", ":"))


def event_of_text(text: str, count: int) -> Event:
    kind, parameters = json.loads(text)
    return Event(kind, tuple((name, value) for name, value in parameters), count)
