"""A watch over certified exits while they run: audited answers are bets that the promise is broken.

Capital grows only if disagreement exceeds what was promised; while the promise holds, the chance that it ever reaches
1/alpha is at most alpha, however long the watch lasts and whenever one looks (Ville; testing by betting). Knows losses
of 0 to 1 in order of arrival; knows no exits.
"""

from dataclasses import dataclass
from enum import StrEnum

from adaptive.errors import CalibrationError

#: The share of what is allowed that a bet may stake.
_MOST = 0.5
#: How many audited answers the first opinion is worth.
_FIRST_WEIGHT = 20.0


class Verdict(StrEnum):
    """What the watch says of the exits."""

    KEEP = "keep"
    TIGHTEN = "tighten"
    STOP = "stop"


@dataclass(frozen=True, slots=True)
class Watch:
    """The monitor at one moment. `capital`: of the test that runs now; it alarms at 2/alpha."""

    audited: int
    disagreed: float
    capital: float
    verdict: Verdict


class RiskMonitor:
    """Tests "the risk is at most `epsilon`", twice: the first alarm tightens, the second, on fresh capital, stops.

    The chance of any alarm while the promise holds is at most `alpha`, half of it for each. One thread feeds it.
    Raises CalibrationError where a number is out of range.
    """

    def __init__(self, epsilon: float, alpha: float = 0.05) -> None:
        for name, value in (("epsilon", epsilon), ("alpha", alpha)):
            if not 0 < value < 1:
                raise CalibrationError(f"{name} is {value} but must be between 0 and 1")
        self._epsilon, self._alarm_at = epsilon, 2 / alpha
        self._verdict = Verdict.KEEP
        self._audited, self._disagreed = 0, 0.0
        self._begin()

    def _begin(self) -> None:
        self._capital = 1.0
        self._count, self._sum = 0, 0.0

    def observe(self, loss: float) -> Verdict:
        """Take one audited answer's loss, 0 to 1, and say what is to be done with the exits."""
        if not 0 <= loss <= 1:
            raise CalibrationError(f"a loss is {loss} but must be from 0 to 1")
        self._audited += 1
        self._disagreed += loss
        if self._verdict is not Verdict.STOP:
            self._bet(loss)
        return self._verdict

    def _bet(self, loss: float) -> None:
        self._capital *= 1 + self._stake() * (loss - self._epsilon)
        self._count += 1
        self._sum += loss
        if self._capital >= self._alarm_at:
            self._verdict = Verdict.STOP if self._verdict is Verdict.TIGHTEN else Verdict.TIGHTEN
            self._begin()

    def _stake(self) -> float:
        """From what was seen before: Kelly's stake for the running mean, at least a little above the promise.

        Someone who expects the promise to be kept stakes nothing and would never learn otherwise.
        """
        mean = (_FIRST_WEIGHT * 2 * self._epsilon + self._sum) / (_FIRST_WEIGHT + self._count)
        mean = min(max(mean, 1.2 * self._epsilon), 0.99)
        stake = (mean - self._epsilon) / (self._epsilon * (1 - self._epsilon))
        return min(stake, _MOST / self._epsilon)

    @property
    def state(self) -> Watch:
        return Watch(self._audited, self._disagreed, self._capital, self._verdict)
