"""What spending costs in time on this machine's disk: a reservation alone, from a lease, and under many clients.

    python -m privacy.ledger.spending_costs [FOLDER]

Measures the ledger with its audit log; knows no policy.
"""

import contextlib
import json
import secrets
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from privacy.audit.log import AuditLog
from privacy.audit.signing import new_signer
from privacy.ledger.ledger import Ledger
from privacy.types import Account, Charge, Event, Owner

_ACCOUNT = Account(Owner.DATASET, "measured", 1e6, 1e-6)
_CHARGE = Charge(1e-4, Event("discrete-gaussian", (("noise_multiplier", 70.71),)))
_LEASED_CHARGES = 10_000


@dataclass(frozen=True, slots=True)
class SpendingCosts:
    """Medians in milliseconds, and requests a second that are reserved, stored and released."""

    reserve_p50_ms: float
    store_p50_ms: float
    replay_p50_ms: float
    leased_reserve_p50_ms: float
    requests_per_second_1_client: float
    requests_per_second_64_clients: float
    leased_requests_per_second_64_clients: float


def measure_spending(folder: Path, requests: int = 200) -> SpendingCosts:
    """Measure in a folder of the disk that matters; some seconds. What is written there stays."""
    with _opened(folder / "single", 0) as ledger:
        reserving, storing, replaying = _one_after_another(ledger, requests)
        alone, together = _rate(ledger, 1, requests), _rate(ledger, 64, requests // 10)
    with _opened(folder / "leased", _LEASED_CHARGES) as ledger:
        leased, _, _ = _one_after_another(ledger, requests)
        leased_together = _rate(ledger, 64, requests // 10)
    return SpendingCosts(reserving, storing, replaying, leased, alone, together, leased_together)


@contextlib.contextmanager
def _opened(folder: Path, lease_charges: int) -> Iterator[Ledger]:
    """A ledger with a log of its own."""
    with (
        AuditLog(folder / "audit.jsonl", new_signer()) as audit,
        Ledger(folder / "ledger.sqlite3", audit, lease_charges=lease_charges) as ledger,
    ):
        yield ledger


def _one_after_another(ledger: Ledger, requests: int) -> list[float]:
    """Medians of reserve, store and replay, in milliseconds."""
    return [1e3 * statistics.median(times) for times in zip(*(_request(ledger) for _ in range(requests)), strict=True)]


def _request(ledger: Ledger) -> tuple[float, float, float]:
    """Seconds of reserve, store and replay."""
    key = secrets.token_bytes(32)
    begun = time.perf_counter()
    reservation = ledger.reserve(_ACCOUNT, _CHARGE, key, key.hex())
    reserved = time.perf_counter()
    ledger.store(reservation, bytes(64))
    stored = time.perf_counter()
    ledger.replay(key)
    return reserved - begun, stored - reserved, time.perf_counter() - stored


def _rate(ledger: Ledger, clients: int, requests: int) -> float:
    """Requests a second of so many threads that each do `requests`."""
    threads = [threading.Thread(target=_one_after_another, args=(ledger, requests)) for _ in range(clients)]
    begun = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return clients * requests / (time.perf_counter() - begun)


def main() -> None:
    """Print the figures as JSON, measured in a new folder within the one that is given, or that of temporary files."""
    with tempfile.TemporaryDirectory(dir=sys.argv[1] if len(sys.argv) > 1 else None) as folder:
        print(json.dumps(asdict(measure_spending(Path(folder))), indent=1))


if __name__ == "__main__":
    main()
