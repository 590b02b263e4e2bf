"""Kills a process that charges and releases, at random instants, and compares what it released with what is recovered.

    python tests/privacy/ledger/ledger_kills.py [--rounds 5] [--points 200] [--seed 0]

Each round has a ledger of its own, which every next process opens again. A process runs four clients; each reserves,
stores, and only then tells through a pipe what it released. Even rounds charge one by one, odd ones from leases. What
kill -9 cannot show is a loss of power: that a commit reached the disk is left to fdatasync and SQLite.
"""

import argparse
import json
import os
import random
import signal
import sys
import tempfile
import threading
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path

from privacy.audit.log import AuditLog
from privacy.audit.signing import Signer, new_signer
from privacy.audit.verify import verify
from privacy.ledger.ledger import Ledger
from privacy.types import Account, Charge, Event, Owner

ACCOUNT = Account(Owner.DATASET, "killed", 1e6, 1e-6)
CHARGE = Charge(0.001, Event("discrete-gaussian", (("noise_multiplier", 22.36),)))
CHARGE_NANORHO = 1_000_000
CLIENTS, LEASE_CHARGES = 4, 8
#: So many kills fall at any time from the start, which may be within the opening; the others while it charges.
SHARE_FROM_THE_START = 0.25
LATEST_KILL_SECONDS = 0.03


@dataclass
class Tally:
    """What the killer saw. Every number but `short`, `missing` and `unverified` may be anything."""

    kills: int = 0
    released: int = 0
    kills_while_opening: int = 0
    #: Restarts that found less spent than was released.
    short: int = 0
    #: Released answers that a restart did not find.
    missing: int = 0
    #: Rounds whose audit log did not verify at the end.
    unverified: int = 0
    #: Charges that were recovered beyond those released, over all kills.
    forfeited: int = 0
    #: The most that one kill may forfeit, times the kills.
    forfeit_bound: int = 0


@dataclass
class Round:
    """One ledger through many kills."""

    folder: Path
    signer: Signer
    lease_charges: int
    tally: Tally
    released: int = 0
    newest: list[str] = field(default_factory=list)

    def kill_once(self, seconds: float, from_the_start: bool) -> None:
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(reader)
            self._charge_until_killed(writer)
        os.close(writer)
        with os.fdopen(reader) as pipe:
            first = "" if from_the_start else pipe.readline()
            time.sleep(seconds)
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            self._compare((first + pipe.read()).split("\n"))

    def _compare(self, lines: list[str]) -> None:
        """The last line may be torn; a release that was not told in full was not told."""
        self.tally.kills += 1
        told = [line.split() for line in lines[:-1]]
        if not told:
            self.tally.kills_while_opening += 1
            return
        _, spent, missing = told[0]
        self.tally.short += int(spent) < self.released * CHARGE_NANORHO
        self.tally.missing += int(missing)
        keys = [line[1] for line in told[1:]]
        self.released += len(keys)
        self.tally.released += len(keys)
        self.newest = keys[-20:] or self.newest

    def opened(self) -> tuple[AuditLog, Ledger]:
        audit = AuditLog(self.folder / "audit.jsonl", self.signer)
        return audit, Ledger(self.folder / "ledger.sqlite3", audit, lease_charges=self.lease_charges)

    def _charge_until_killed(self, pipe: int) -> None:
        try:
            _, ledger = self.opened()
            missing = sum(ledger.replay(bytes.fromhex(key)) != answer_of(key) for key in self.newest)
            os.write(pipe, f"opened {round(ledger.spent(ACCOUNT) * 1e9)} {missing}\n".encode())
            for _ in range(CLIENTS):
                threading.Thread(target=charge_for_ever, args=(ledger, pipe), daemon=True).start()
            time.sleep(60)
        finally:
            os._exit(1)

    def finish(self) -> None:
        audit, ledger = self.opened()
        recovered = round(ledger.spent(ACCOUNT) * 1e9)
        ledger.close()
        audit.close()
        self.tally.short += recovered < self.released * CHARGE_NANORHO
        self.tally.unverified += not verify(self.folder / "audit.jsonl", self.signer.public_key).ok
        self.tally.forfeited += recovered // CHARGE_NANORHO - self.released


def answer_of(key: str) -> bytes:
    return bytes.fromhex(key)[::-1]


def charge_for_ever(ledger: Ledger, pipe: int) -> None:
    while True:
        key = os.urandom(16)
        reservation = ledger.reserve(ACCOUNT, CHARGE, key, key.hex())
        ledger.store(reservation, answer_of(key.hex()))
        os.write(pipe, f"released {key.hex()}\n".encode())


def kill_many(rounds: int, points: int, seed: int) -> Tally:
    # fork() in a process with threads could leave a lock held: this one has none until `finish`.
    chance, tally = random.Random(seed), Tally()
    for number in range(rounds):
        with tempfile.TemporaryDirectory() as folder:
            lease_charges = LEASE_CHARGES * (number % 2)
            round_ = Round(Path(folder), new_signer(), lease_charges, tally)
            for _ in range(points):
                round_.kill_once(chance.uniform(0.0, LATEST_KILL_SECONDS), chance.random() < SHARE_FROM_THE_START)
            round_.finish()
            tally.forfeit_bound += (points + 1) * (CLIENTS + lease_charges)
    return tally


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--points", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    begun = time.perf_counter()
    tally = kill_many(options.rounds, options.points, options.seed)
    print(json.dumps(asdict(tally) | {"seconds": round(time.perf_counter() - begun, 1)}))
    return int(bool(tally.short or tally.missing or tally.unverified))


if __name__ == "__main__":
    sys.exit(main())
