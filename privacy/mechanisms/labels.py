"""Labels from class logits: k-ary randomised response and the exponential mechanism, for any two inputs.

Who reads the label learns little of the text it is of. The server saw the text: these do not protect from it.
"""

import math

import numpy as np

from privacy.errors import MechanismError
from privacy.mechanisms import costs, exact
from privacy.mechanisms.base import Floats, Integers, check_count
from privacy.mechanisms.grids import LOGIT_STEPS, bound_logits
from privacy.mechanisms.pools import Pool
from privacy.mechanisms.selection import Selection
from privacy.types import Charge, Event

#: Shifts drawn ahead of time for randomised response.
POOL_SIZE = 4096


class RandomisedResponse:
    """The likeliest label with probability e^epsilon / (e^epsilon + k - 1), else one of the others at random.

    epsilon-DP for any two inputs (Warner, 1965; Kairouz, Oh, Viswanath, 2016). Raises MechanismError for parameters
    that are no mechanism.
    """

    name = "randomised-response"

    def __init__(self, epsilon: float, labels: int) -> None:
        if not (0 < epsilon <= 60) or labels < 2:
            raise MechanismError("randomised-response needs epsilon above 0 and at most 60, and 2 labels or more")
        self.epsilon, self.labels = epsilon, labels
        # Rounded up: the truth is told a hair less often than epsilon allows.
        self._lie = (labels - 1) / (math.exp(epsilon) + labels - 1) * (1 + costs.SLACK)
        self._pool = Pool(self._shifts, POOL_SIZE)

    @property
    def truth(self) -> float:
        """The probability of the likeliest label."""
        return 1 - self._lie

    @property
    def rho(self) -> float:
        return costs.rho_of_pure_epsilon(self.epsilon)

    def charge(self, count: int) -> Charge:
        """The cost of `count` labels."""
        parameters = (("probability", self.truth), ("labels", float(self.labels)))
        return Charge(self.rho * check_count(count), Event("randomised-response", parameters, count))

    def release(self, logits: Floats) -> Integers:
        """One label a row, int64 [N], for class logits [N, labels].

        NaN counts as the lowest; among equals the lower label. Raises MechanismError for another shape.
        """
        checked = _class_rows(logits, self.labels)
        likeliest = np.where(np.isnan(checked), -np.inf, checked).argmax(axis=1)
        released: Integers = (likeliest + self._pool.take(len(checked))) % self.labels
        return released

    def _shifts(self, count: int) -> Integers:
        """How far to move the label, modulo the number of labels: 0 is the truth. The data plays no part in it."""
        common = min(self._lie, 1 - self._lie)
        rare = exact.bits(common, count)
        lies = rare if common == self._lie else 1 - rare
        return lies * (1 + exact.uniform_below(self.labels - 1, count))


class ExponentialLabels(Selection):
    """One label, drawn with probability proportional to exp(clipped logit / temperature).

    Logits are moved so that the highest is at +clip and what is below -clip is at -clip. Bounded range
    eta = 4 clip / temperature between any two inputs, so eta-DP and rho = eta^2 / 8.
    """

    name = "exponential"

    def __init__(self, clip: float, temperature: float) -> None:
        super().__init__(LOGIT_STEPS / clip, temperature)
        self.clip = clip

    def release(self, logits: Floats) -> Integers:
        """One label a row, int64 [N], for class logits [N, C]. Raises MechanismError for another shape."""
        rows = bound_logits(_class_rows(logits, None), self.clip)
        return np.array([self.choose(row) for row in rows], np.int64)


def _class_rows(logits: Floats, labels: int | None) -> Floats:
    rows = np.asarray(logits, np.float64)
    if rows.ndim != 2 or rows.shape[1] < 2 or (labels is not None and rows.shape[1] != labels):
        wanted = "two labels or more" if labels is None else f"{labels} labels, as the policy says"
        raise MechanismError(f"class logits have shape {rows.shape}; the mechanism needs rows of {wanted}")
    return rows
