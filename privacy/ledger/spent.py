"""What an account has spent, read from the ledger's file beside a server that may be running; and what that leaves.

Opens the file for reading alone: takes no lock and changes nothing. What the audit log knows beyond a ledger that was
restored from an old copy is found when the ledger is next opened for writing.
"""

import sqlite3
import time
from contextlib import closing
from pathlib import Path

from privacy.audit.reading import NANORHO
from privacy.errors import LedgerError
from privacy.ledger.book import PER_REQUEST, window_of
from privacy.mechanisms import mechanism_for
from privacy.policy.explain import Remaining
from privacy.types import Account, Decision


def remaining_of(decision: Decision, ledger_file: Path) -> Remaining | None:
    """What is left of a decision's account; None where it has none. Raises LedgerError for a file that is no ledger."""
    account = decision.account
    if account is None:
        return None
    cost = mechanism_for(decision.mechanism).charge(1).rho if decision.mechanism else 1.0
    spent = spent_rho(account, ledger_file, time.time())
    return Remaining(account, spent or 0.0, cost, untouched=spent is None)


def spent_rho(account: Account, ledger_file: Path, at_seconds: float) -> float | None:
    """rho spent in the account's window at that Unix time; None where there is no ledger yet.

    Raises LedgerError where the file cannot be read.
    """
    if not ledger_file.exists():
        return None
    if account.lifetime == PER_REQUEST:
        return 0.0
    window = window_of(account.lifetime, int(at_seconds))
    try:
        with closing(sqlite3.connect(f"{ledger_file.absolute().as_uri()}?mode=ro", uri=True)) as connection:
            query = 'SELECT nanorho FROM spent WHERE account = ? AND "window" = ?'
            row = connection.execute(query, (account.key, window)).fetchone()
    except sqlite3.Error as error:
        raise LedgerError(
            f"the ledger {str(ledger_file)!r} cannot be read: {error}; run as the server's user"
        ) from None
    return float(row[0]) / NANORHO if row else 0.0
