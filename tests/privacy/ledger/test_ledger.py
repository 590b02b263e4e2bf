"""The ledger: charges are exact, capped under any number of clients, and free for an identical request."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from privacy.audit.log import AuditLog
from privacy.audit.signing import Signer, new_signer
from privacy.audit.verify import verify
from privacy.errors import BudgetExhaustedError, LedgerError
from privacy.ledger.book import window_of
from privacy.ledger.ledger import Ledger
from privacy.types import Account, Charge, Event, Owner

SIGNER = new_signer()
EVENT = Event("discrete-gaussian", (("noise_multiplier", 4.0),))
OpenLedger = Callable[..., Ledger]


def account(rho_cap: float = 1.0, lifetime: str = "forever", name: str = "corpus") -> Account:
    return Account(Owner.DATASET, name, rho_cap, 1e-6, lifetime)


def charge(rho: float, count: int = 1) -> Charge:
    return Charge(rho, Event(EVENT.kind, EVENT.parameters, count))


class Folder:
    """A state folder that is opened and closed as a server would, by a clock that the test sets."""

    def __init__(self, path: Path, signer: Signer = SIGNER) -> None:
        self.path, self.signer, self.seconds = path, signer, 1_800_000_000.0
        self._open: list[tuple[Ledger, AuditLog]] = []

    def open(self, lease_charges: int = 0) -> Ledger:
        audit = AuditLog(self.path / "audit.jsonl", self.signer, lambda: self.seconds)
        try:
            ledger = Ledger(self.path / "ledger.sqlite3", audit, lease_charges=lease_charges)
        except BaseException:
            audit.close()
            raise
        self._open.append((ledger, audit))
        return ledger

    def close(self) -> None:
        while self._open:
            for part in self._open.pop():
                part.close()

    def reopen(self, lease_charges: int = 0) -> Ledger:
        self.close()
        return self.open(lease_charges)


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Folder]:
    folder = Folder(tmp_path)
    yield folder
    folder.close()


def release(ledger: Ledger, of: Account, rho: float, key: bytes, answer: bytes = b"answer") -> None:
    ledger.store(ledger.reserve(of, charge(rho), key, key.hex()), answer)


def test_charges_add_up_exactly_and_end_at_the_cap(folder: Folder) -> None:
    ledger = folder.open()
    for number in range(10):
        release(ledger, account(1.0), 0.1, b"%d" % number)
    assert ledger.spent(account()) == 1.0
    with pytest.raises(BudgetExhaustedError, match="dataset:corpus"):
        ledger.reserve(account(1.0), charge(1e-9), b"one more", "d")
    assert ledger.left(account()) == 0.0


def test_refused_charge_spends_nothing(folder: Folder) -> None:
    ledger = folder.open()
    with pytest.raises(BudgetExhaustedError):
        ledger.reserve(account(0.5), charge(0.6), b"k", "d")
    assert ledger.spent(account(0.5)) == 0.0
    ledger.reserve(account(0.5), charge(0.5), b"k", "d")


@pytest.mark.parametrize("rho", [0.0, -1.0, float("nan"), float("inf"), -float("inf")])
def test_charge_that_is_none_is_refused(folder: Folder, rho: float) -> None:
    with pytest.raises(LedgerError):
        folder.open().reserve(account(), charge(rho), b"k", "d")


@pytest.mark.parametrize("cap", [float("nan"), float("inf"), -1.0])
def test_cap_that_is_none_is_refused(folder: Folder, cap: float) -> None:
    with pytest.raises(LedgerError):
        folder.open().reserve(account(cap), charge(0.1), b"k", "d")


@pytest.mark.parametrize("name", ["x" * 300, "a\nb", "a\ud800b", "a\0b"])
def test_account_that_could_be_mistaken_in_the_log_is_refused(folder: Folder, name: str) -> None:
    ledger = folder.open()
    with pytest.raises(LedgerError, match="printable"):
        ledger.reserve(account(name=name), charge(0.1), b"k", "d")
    release(ledger, account(), 0.1, b"another still works")


def test_stored_answer_is_replayed_also_after_a_restart(folder: Folder) -> None:
    ledger = folder.open()
    assert ledger.replay(b"key") is None
    release(ledger, account(), 0.25, b"key", b"\x00noisy\xff")
    assert ledger.replay(b"key") == b"\x00noisy\xff"
    ledger = folder.reopen()
    assert ledger.replay(b"key") == b"\x00noisy\xff"
    assert ledger.spent(account()) == 0.25


def test_first_answer_of_a_key_stays(folder: Folder) -> None:
    ledger = folder.open()
    first, second = (ledger.reserve(account(), charge(0.1), b"same", decision) for decision in ("a", "b"))
    ledger.store(first, b"first")
    ledger.store(second, b"second")
    assert ledger.replay(b"same") == b"first"
    assert ledger.spent(account()) == 0.2


def test_reservation_ends_once(folder: Folder) -> None:
    ledger = folder.open()
    stored, abandoned = (ledger.reserve(account(), charge(0.1), b"k", decision) for decision in ("a", "b"))
    ledger.store(stored, b"answer")
    ledger.abandon(abandoned)
    for reservation in (stored, abandoned):
        with pytest.raises(LedgerError, match="ended before"):
            ledger.store(reservation, b"again")
        with pytest.raises(LedgerError, match="ended before"):
            ledger.abandon(reservation)


def test_abandoned_reservation_stays_charged(folder: Folder) -> None:
    ledger = folder.open()
    ledger.abandon(ledger.reserve(account(), charge(0.3), b"k", "d"))
    assert folder.reopen().spent(account()) == 0.3


def test_reservation_under_way_at_the_end_stays_charged(folder: Folder) -> None:
    folder.open().reserve(account(), charge(0.3), b"k", "d")
    ledger = folder.reopen()
    assert ledger.spent(account()) == 0.3
    assert ledger.replay(b"k") is None
    assert '"lost_reservations":1' in (folder.path / "audit.jsonl").read_text()


def test_sixty_four_clients_never_pass_the_cap(folder: Folder) -> None:
    _sixty_four_clients(folder, lease_charges=0)


def test_sixty_four_clients_never_pass_the_cap_with_leases(folder: Folder) -> None:
    _sixty_four_clients(folder, lease_charges=7)


def _sixty_four_clients(folder: Folder, lease_charges: int) -> None:
    """They ask for 64 x 12 charges where 500 are left, and get exactly those."""
    ledger, of = folder.open(lease_charges), account(5.0)
    ready = threading.Barrier(64)

    def client(number: int) -> int:
        ready.wait()
        granted = 0
        for turn in range(12):
            try:
                release(ledger, of, 0.01, b"%d %d" % (number, turn))
            except BudgetExhaustedError:
                continue
            granted += 1
        return granted

    with ThreadPoolExecutor(64) as clients:
        granted = sum(clients.map(client, range(64)))
    assert granted == 500
    assert ledger.spent(of) == 5.0
    assert folder.reopen().spent(of) == 5.0
    folder.close()
    assert verify(folder.path / "audit.jsonl", SIGNER.public_key).spent_rho == {"dataset:corpus forever": 5.0}


def test_lease_is_given_back_at_a_clean_end(folder: Folder) -> None:
    ledger = folder.open(lease_charges=10)
    release(ledger, account(), 0.01, b"k")
    assert ledger.spent(account()) == 0.1
    assert ledger.left(account()) == 0.99
    assert folder.reopen().spent(account()) == 0.01


def test_lease_takes_no_more_than_is_left(folder: Folder) -> None:
    ledger = folder.open(lease_charges=10)
    for number in range(5):
        release(ledger, account(0.05), 0.01, b"%d" % number)
    with pytest.raises(BudgetExhaustedError):
        ledger.reserve(account(0.05), charge(0.01), b"k", "d")


def test_rest_of_a_lease_serves_smaller_charges_after_a_refusal(folder: Folder) -> None:
    ledger = folder.open(lease_charges=3)
    release(ledger, account(0.05), 0.02, b"a")
    with pytest.raises(BudgetExhaustedError):
        ledger.reserve(account(0.05), charge(0.04), b"b", "d")
    release(ledger, account(0.05), 0.03, b"c")


def test_request_lifetime_gives_each_request_the_cap(folder: Folder) -> None:
    ledger, of = folder.open(lease_charges=5), account(0.1, "request")
    for number in range(3):
        release(ledger, of, 0.1, b"%d" % number)
    with pytest.raises(BudgetExhaustedError):
        ledger.reserve(of, charge(0.11), b"k", "d")


def test_day_window_refills_on_the_next_day_only(folder: Folder) -> None:
    ledger, of = folder.open(), account(0.1, "day")
    release(ledger, of, 0.1, b"today")
    folder.seconds += 86_400
    release(ledger, of, 0.1, b"tomorrow")
    with pytest.raises(BudgetExhaustedError):
        release(ledger, of, 0.1, b"tomorrow too")


@pytest.mark.parametrize("restart", [False, True])
def test_clock_that_is_set_back_refills_nothing(folder: Folder, restart: bool) -> None:
    ledger, of = folder.open(), account(0.1, "day")
    release(ledger, of, 0.1, b"yesterday")
    folder.seconds += 86_400
    release(ledger, of, 0.1, b"today")
    for _ in range(3):
        folder.seconds -= 86_400
        ledger = folder.reopen() if restart else ledger
        with pytest.raises(BudgetExhaustedError):
            release(ledger, of, 0.1, b"once more")


def test_changed_lifetime_is_refused(folder: Folder) -> None:
    release(folder.open(), account(0.1), 0.1, b"k")
    with pytest.raises(LedgerError, match="lifetime"):
        folder.reopen().reserve(account(0.1, "day"), charge(0.1), b"l", "d")


def test_unknown_lifetime_is_refused() -> None:
    with pytest.raises(LedgerError, match="fortnight"):
        window_of("fortnight", 0)


def test_accounts_do_not_mix(folder: Folder) -> None:
    ledger = folder.open()
    release(ledger, account(0.1, name="a"), 0.1, b"a")
    release(ledger, account(0.1, name="b"), 0.1, b"b")
    with pytest.raises(BudgetExhaustedError):
        release(ledger, account(0.1, name="a"), 0.1, b"c")


@pytest.mark.parametrize("lease_charges", [0, 4])
def test_events_are_counted_for_other_accountants(folder: Folder, lease_charges: int) -> None:
    ledger = folder.open(lease_charges)
    for number in range(3):
        ledger.store(ledger.reserve(account(), charge(0.01, count=2), b"%d" % number, "d"), b"")
    assert ledger.events(account()) == [Event(EVENT.kind, EVENT.parameters, 6)]
    assert folder.reopen().events(account()) == [Event(EVENT.kind, EVENT.parameters, 6)]


def test_oldest_answers_make_room(tmp_path: Path) -> None:
    with AuditLog(tmp_path / "log", SIGNER) as audit, Ledger(tmp_path / "l", audit, answers_limit_bytes=100) as ledger:
        for number in range(5):
            release(ledger, account(), 0.01, b"%d" % number, bytes(30))
        assert [ledger.replay(b"%d" % number) is None for number in range(5)] == [True, True, False, False, False]
        release(ledger, account(), 0.01, b"huge", bytes(1000))
        assert ledger.replay(b"huge") == bytes(1000) and ledger.replay(b"4") is None
        assert ledger.spent(account()) == 0.06


def test_charge_on_a_closed_ledger_is_refused(folder: Folder) -> None:
    ledger = folder.open()
    folder.close()
    with pytest.raises(LedgerError, match="closed"):
        ledger.reserve(account(), charge(0.1), b"k", "d")
