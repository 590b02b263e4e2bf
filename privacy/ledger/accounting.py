"""What a sum of zCDP's rho comes to in epsilon and delta, and back: the accounting that is enforced.

rho adds up under fully adaptive composition, and stopping at a sum of it is sound (Whitehouse, Ramdas, Rogers and Wu,
2023, https://arxiv.org/abs/2203.05481), which does not hold of the tighter totals in `ledger.advice`. What each
mechanism costs is said by `mechanisms.costs`. Knows neither accounts nor mechanisms.
"""

import math
from functools import lru_cache

from privacy.errors import MechanismError

#: Relative slack that keeps rounding on the safe side.
_SLACK = 1e-12
_GOLDEN = (math.sqrt(5.0) - 1.0) / 2.0
_SEARCH_STEPS = 80


@lru_cache(maxsize=4096)
def epsilon_of_rho(rho: float, delta: float) -> float:
    """The least epsilon so that rho-zCDP implies (epsilon, delta)-DP by the optimal order alpha; inf for delta 0.

    Any order alpha > 1 gives a valid epsilon: alpha rho + ln(1 - 1/alpha) + (ln(1/delta) - ln alpha) / (alpha - 1);
    the smallest over alpha is taken (Canonne, Kamath and Steinke, 2020, Corollary 13,
    https://arxiv.org/abs/2004.00010). Raises MechanismError for a negative or infinite rho, or a delta outside [0, 1).
    """
    if not (0.0 <= rho < math.inf and 0.0 <= delta < 1.0):
        raise MechanismError(f"rho {rho} or delta {delta} is out of range: rho is finite, delta at least 0 and below 1")
    if rho == 0.0 or delta == 0.0:
        return 0.0 if rho == 0.0 else math.inf
    return max(0.0, _smallest_epsilon(rho, delta)) * (1.0 + _SLACK)


def _smallest_epsilon(rho: float, delta: float) -> float:
    """Golden-section search over ln(alpha - 1). A search that ends beside the optimum still ends in a valid bound."""

    def epsilon_at(log_excess: float) -> float:
        return _epsilon_at_order(rho, delta, math.exp(log_excess))

    # About the order that is best without the correction terms: excess = sqrt(ln(1/delta) / rho).
    middle = 0.5 * math.log(math.log(1.0 / delta) / rho)
    low, high = middle - 6.0, middle + 6.0
    left, right = high - _GOLDEN * (high - low), low + _GOLDEN * (high - low)
    at_left, at_right = epsilon_at(left), epsilon_at(right)
    for _ in range(_SEARCH_STEPS):
        if at_left < at_right:
            high, right, at_right = right, left, at_left
            left = high - _GOLDEN * (high - low)
            at_left = epsilon_at(left)
        else:
            low, left, at_left = left, right, at_right
            right = low + _GOLDEN * (high - low)
            at_right = epsilon_at(right)
    return min(at_left, at_right)


def _epsilon_at_order(rho: float, delta: float, excess: float) -> float:
    """The epsilon that the order alpha = 1 + excess gives."""
    alpha = 1.0 + excess
    return alpha * rho - math.log1p(1.0 / excess) - (math.log(delta) + math.log1p(excess)) / excess


def rho_of_epsilon_delta(epsilon: float, delta: float) -> float:
    """The largest rho (to about 1e-12 of it) whose `epsilon_of_rho` is at most epsilon: a budget's cap.

    Raises MechanismError unless epsilon is positive and finite, and delta above 0 and below 1.
    """
    if not (0.0 < epsilon < math.inf and 0.0 < delta < 1.0):
        raise MechanismError(f"epsilon {epsilon} must be positive, delta {delta} above 0 and below 1")
    low, high = 0.0, max(2.0 * epsilon, 1.0)
    while epsilon_of_rho(high, delta) <= epsilon:
        high *= 2.0
    while high - low > 1e-12 * high:
        middle = 0.5 * (low + high)
        low, high = (middle, high) if epsilon_of_rho(middle, delta) <= epsilon else (low, middle)
    return low
