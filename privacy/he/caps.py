"""How many vectors a tenant may send to a layer in an epoch, and how many ciphertexts in a second.

A layer of n columns is recovered from about n answers, so a cap below n is what protects weights from one tenant; each
ciphertext counts as many vectors as it has room for, whatever the tenant says is in it. Counts of epochs are durable
where a file is given, so that a restart refills nothing.
"""

import sqlite3
import threading
import time
from collections.abc import Callable
from pathlib import Path

from privacy.errors import BudgetExhaustedError, DeniedError, LedgerError


class QueryCaps:
    """Counts vectors by tenant, model digest and epoch. `path` None counts in memory alone."""

    def __init__(self, path: Path | None = None, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        try:
            self._book = sqlite3.connect(path or ":memory:", check_same_thread=False, isolation_level=None)
            self._book.execute("PRAGMA journal_mode=WAL")
            self._book.execute("PRAGMA synchronous=FULL")
            self._book.execute(
                "CREATE TABLE IF NOT EXISTS spent (tenant TEXT, digest TEXT, epoch INTEGER, vectors INTEGER,"
                " PRIMARY KEY (tenant, digest, epoch)) WITHOUT ROWID"
            )
        except sqlite3.Error:
            raise LedgerError("the file of query counts cannot be opened; give a folder that can be written") from None

    def spend(self, tenant: str, digest: str, vectors: int, cap: int, epoch_seconds: float) -> int:
        """Count `vectors` durably and give what is left; a cap of 0 counts nothing.

        Raises BudgetExhaustedError where they would pass the cap: then nothing is counted. LedgerError where it cannot
        be written: then nothing may be computed.
        """
        if not cap:
            return 0
        epoch = int(self._clock() // epoch_seconds)
        with self._lock:
            try:
                return self._spend((tenant, digest, epoch), vectors, cap)
            except sqlite3.Error:
                raise LedgerError("the query count cannot be written, so nothing is computed") from None

    def spent(self, tenant: str, digest: str, epoch_seconds: float) -> int:
        """Vectors that were counted in the epoch that runs now."""
        with self._lock:
            return self._spent((tenant, digest, int(self._clock() // epoch_seconds)))

    def close(self) -> None:
        with self._lock:
            self._book.close()

    def _spend(self, key: tuple[str, str, int], vectors: int, cap: int) -> int:
        spent = self._spent(key) + vectors
        if spent > cap:
            raise BudgetExhaustedError(
                f"the cap of {cap} vectors an epoch does not cover {vectors} more for this model; wait for the next one"
            )
        self._book.execute("INSERT OR REPLACE INTO spent VALUES (?, ?, ?, ?)", (*key, spent))
        return cap - spent

    def _spent(self, key: tuple[str, str, int]) -> int:
        rows = self._book.execute("SELECT vectors FROM spent WHERE tenant = ? AND digest = ? AND epoch = ?", key)
        found = rows.fetchone()
        return int(found[0]) if found else 0


class RateLimit:
    """A bucket a tenant: `per_second` refill it, `burst` is its size. 0 a second: no limit."""

    _MOST_TENANTS = 4096

    def __init__(self, per_second: float, burst: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._per_second, self._burst, self._clock = per_second, max(burst, 1.0), clock
        self._lock = threading.Lock()
        self._buckets: dict[str, tuple[float, float]] = {}

    def take(self, tenant: str, amount: float = 1.0) -> None:
        """Take from the tenant's bucket. Raises DeniedError where it holds less."""
        if not self._per_second:
            return
        now = self._clock()
        with self._lock:
            held, since = self._buckets.get(tenant, (self._burst, now))
            held = min(self._burst, held + (now - since) * self._per_second)
            if held < amount:
                raise DeniedError(f"more than {self._per_second:g} a second were sent; slow down")
            self._drop_full(now)
            self._buckets[tenant] = (held - amount, now)

    def _drop_full(self, now: float) -> None:
        """Forget buckets that are full again: they are as if never used."""
        if len(self._buckets) > self._MOST_TENANTS:
            full = self._burst / self._per_second
            self._buckets = {key: each for key, each in self._buckets.items() if now - each[1] < full}
