"""What every account has spent, in memory: exact whole numbers, windows of time, and the cap.

One writer changes it (`ledger.writer`). Knows neither files nor threads.
"""

import datetime
import math
from dataclasses import dataclass, field
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal

from privacy.audit.reading import NANORHO
from privacy.errors import BudgetExhaustedError, LedgerError
from privacy.types import Account

#: An account of which each request has the whole cap for itself.
PER_REQUEST = "request"
_DAY = "day"
DAY_SECONDS = 86_400
_FOREVER = "forever"
#: Beyond every budget that means anything, and within a whole number of 64 bits.
_MOST_NANORHO = 2**62


def charged_nanorho(rho: float) -> int:
    """A charge in parts of 1e-9 rho, rounded up. Raises LedgerError unless it is positive and finite.

    A float stands for the shortest decimal that names it, so that ten times 0.1 is 1.
    """
    if not (math.isfinite(rho) and rho > 0.0):
        raise LedgerError(f"A charge of rho {rho} is none: it must be positive and finite")
    return _whole(rho, ROUND_CEILING)


def cap_nanorho(rho: float) -> int:
    """A cap in parts of 1e-9 rho, rounded down. Raises LedgerError unless it is finite and not negative."""
    if not (math.isfinite(rho) and rho >= 0.0):
        raise LedgerError(f"A budget of rho {rho} is none: it must be finite and not negative")
    return _whole(rho, ROUND_FLOOR)


def _whole(rho: float, rounding: str) -> int:
    return min(int((Decimal(repr(float(rho))) * NANORHO).to_integral_value(rounding)), _MOST_NANORHO)


def window_of(lifetime: str, seconds: int) -> str:
    """The window that a lifetime's spending at that Unix time counts in. Raises LedgerError for an unknown lifetime."""
    if lifetime in (_FOREVER, PER_REQUEST):
        return lifetime
    if lifetime == _DAY:
        return _day_window(seconds)
    raise LedgerError(f"A budget's lifetime {lifetime!r} is not known: it is {PER_REQUEST}, {_DAY} or {_FOREVER}")


def _day_window(seconds: int) -> str:
    return f"{_DAY}:{datetime.datetime.fromtimestamp(seconds, datetime.UTC):%Y-%m-%d}"


def lifetime_of(window: str) -> str:
    """The lifetime that a window is of."""
    return window.partition(":")[0]


def is_past(window: str, seconds: int) -> bool:
    """Whether nothing can be charged in that window any more."""
    return window.startswith(f"{_DAY}:") and window < _day_window(seconds)


@dataclass(slots=True)
class Book:
    """What was spent, in parts of 1e-9 rho, by (account's key, window); and each account's lifetime."""

    spent: dict[tuple[str, str], int] = field(default_factory=dict)
    lifetimes: dict[str, str] = field(default_factory=dict)
    _tidied_day: int = 0

    def tidy(self, seconds: int) -> None:
        """Once a day, drop old windows; not yesterday's, which a charge that began before midnight may still be for."""
        day = seconds // DAY_SECONDS
        if day != self._tidied_day:
            self._tidied_day = day
            self.forget_before(seconds - DAY_SECONDS)

    def left(self, account: Account, window: str) -> int:
        """What a request may still be charged, never below 0."""
        spent = 0 if account.lifetime == PER_REQUEST else self.spent.get((account.key, window), 0)
        return max(0, cap_nanorho(account.rho_cap) - spent)

    def check(self, account: Account, window: str, nanorho: int) -> None:
        """Raise BudgetExhaustedError where that much is not left, LedgerError where the lifetime was changed."""
        known = self.lifetimes.get(account.key, account.lifetime)
        if known != account.lifetime:
            raise LedgerError(
                f"The lifetime of budget {account.key} was {known} and is now {account.lifetime}: what was spent would "
                "be forgotten; give the changed budget a name of its own"
            )
        if nanorho > self.left(account, window):
            raise BudgetExhaustedError(f"The budget {account.key} does not cover the request in window {window}")

    def spend(self, account: Account, window: str, nanorho: int) -> None:
        """Add what `check` has allowed."""
        self.lifetimes[account.key] = account.lifetime
        place = (account.key, window)
        self.spent[place] = min(self.spent.get(place, 0) + nanorho, _MOST_NANORHO)

    def forget_before(self, seconds: int) -> None:
        """Drop windows that were past at that Unix time."""
        self.spent = {place: spent for place, spent in self.spent.items() if not is_past(place[1], seconds)}
