"""Tests of "the risk is at least epsilon" on losses in [0, 1]: small p-values certify that it is below.

Betting after Waudby-Smith and Ramdas (2024): a gambler who bets that losses stay below epsilon cannot, if they do not,
multiply her capital by 1/delta with more than probability delta (Ville). Knows losses; knows no thresholds.
"""

from enum import StrEnum

import numpy as np
from numpy.typing import NDArray
from scipy.special import bdtr

from adaptive.errors import CalibrationError
from adaptive.measures import Floats

#: The share of what is allowed that a bet may stake: at all of it one whole loss would end the game.
_MOST = 0.98
#: Stakes are chosen to be best at this confidence, and hold at every other.
_DESIGNED_FOR = 0.1
_AROUND = np.array([0.65, 0.85, 1.1])
#: How finely upper bounds are searched.
_TOLERANCE = 1e-5


class Bound(StrEnum):
    """`BETTING` holds for every loss in [0, 1]; `BINOMIAL` is exact, and tighter, for losses that are 0 or 1."""

    BETTING = "betting"
    BINOMIAL = "binomial"


def check_losses(losses: NDArray[np.floating]) -> Floats:
    """The losses as float64 [N]. Raises CalibrationError where one is outside [0, 1] or there is none."""
    found = np.asarray(losses, np.float64)
    if found.ndim != 1 or not found.size or not np.isfinite(found).all() or found.min() < 0 or found.max() > 1:
        raise CalibrationError("losses must be at least one number, each from 0 to 1")
    return found


def betting_p_value(losses: NDArray[np.floating], epsilon: float) -> float:
    """The p-value of "risk >= epsilon": the inverse of what the gambler has at the end.

    She divides her capital among constant stakes and never moves it ("diversified Kelly"). So the order of the losses
    does not matter: a file sorted by label would let a bet stop at a lucky moment.
    """
    x = check_losses(losses)
    if not 0 < epsilon < 1:
        raise CalibrationError(f"epsilon is {epsilon} but must be between 0 and 1")
    values, counts = np.unique(x, return_counts=True)
    grown = np.log1p(-_stakes(len(x), epsilon)[:, None] * (values - epsilon)) @ counts
    most = grown.max()
    return float(min(1.0, np.exp(-most) / np.exp(grown - most).mean()))


def _stakes(count: int, epsilon: float) -> Floats:
    """Stakes around the one that is best for 0-1 losses whose number is just small enough; all below 1/(1 - epsilon).

    After Waudby-Smith and Ramdas' choice for a sample of known size: sqrt(2 ln(1/delta) / (n variance)).
    """
    best = np.sqrt(2 * np.log(1 / _DESIGNED_FOR) / (count * epsilon * (1 - epsilon)))
    stakes: Floats = np.minimum(best * _AROUND, _MOST / (1 - epsilon))
    return stakes


def binomial_p_value(losses: NDArray[np.floating], epsilon: float) -> float:
    """The chance of so few losses in as many samples at risk epsilon. Raises CalibrationError unless all are 0 or 1."""
    x = check_losses(losses)
    if not ((x == 0) | (x == 1)).all():
        raise CalibrationError("the binomial bound is for losses of 0 and 1; take the betting bound")
    return float(bdtr(int(x.sum()), len(x), epsilon))


def p_value(bound: Bound, losses: NDArray[np.floating], epsilon: float) -> float:
    return betting_p_value(losses, epsilon) if bound is Bound.BETTING else binomial_p_value(losses, epsilon)


def upper_bound(losses: NDArray[np.floating], delta: float, bound: Bound = Bound.BETTING) -> float:
    """The smallest risk that the losses reject at `delta`: the true one is below with probability 1 - delta.

    1 where nothing is rejected.
    """
    low, high = 0.0, 1.0
    if p_value(bound, losses, 1 - _TOLERANCE) > delta:
        return 1.0
    while high - low > _TOLERANCE:
        middle = (low + high) / 2
        low, high = (low, middle) if p_value(bound, losses, middle) <= delta else (middle, high)
    return high
