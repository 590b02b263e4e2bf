"""Which threshold may be used: fixed-sequence testing from the safe end, up to the first that cannot be certified.

Risk need not fall with the threshold: a threshold is returned only if it and every safer one was tested and passed, and
one that was not tested is never returned. Knows losses by threshold; knows no exits.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from adaptive.bounds import Bound, p_value, upper_bound
from adaptive.errors import CalibrationError


@dataclass(frozen=True, slots=True)
class Certificate:
    """A threshold whose risk is at most `epsilon` with confidence 1 - `delta`.

    It is number `index`; `tested` thresholds were tried. `risk` is the mean loss at this one.
    """

    threshold: float
    index: int
    epsilon: float
    delta: float
    samples: int
    tested: int
    risk: float
    method: Bound


def certification_floor(epsilon: float, delta: float, method: Bound = Bound.BINOMIAL) -> int:
    """The samples without which not even an errorless threshold is certified.

    For every method at least ln(1/delta) / -ln(1 - epsilon); a gambler who keeps something back needs a few more.
    """
    _check(epsilon, delta)
    floor = math.ceil(math.log(1 / delta) / -math.log1p(-epsilon))
    if method is Bound.BINOMIAL:
        return floor
    enough = 4 * floor
    while floor < enough:
        middle = (floor + enough) // 2
        floor, enough = (floor, middle) if p_value(method, np.zeros(middle), epsilon) <= delta else (middle + 1, enough)
    return floor


def certify(
    thresholds: Sequence[float],
    losses: NDArray[np.floating],
    epsilon: float,
    delta: float,
    method: Bound = Bound.BETTING,
) -> Certificate | None:
    """The last of `thresholds` (the safest first) up to which every one is certified; None where the first is not.

    `losses`: [thresholds, samples], each from 0 to 1. Raises CalibrationError for fewer samples than the floor.
    """
    _check(epsilon, delta)
    count = losses.shape[1]
    floor = certification_floor(epsilon, delta, method)
    if count < floor:
        raise CalibrationError(
            f"{count} samples cannot certify a risk of {epsilon:g} at confidence {1 - delta:g}, not even without an"
            f" error; give at least {floor}, or allow more"
        )
    passed = 0
    for row in losses:
        if p_value(method, row, epsilon) > delta:
            break
        passed += 1
    if not passed:
        return None
    tested = min(passed + 1, len(losses))
    tested, risk = min(passed + 1, len(losses)), float(losses[passed - 1].mean())
    return Certificate(float(thresholds[passed - 1]), passed - 1, epsilon, delta, count, tested, risk, method)


def sequence_bounds(losses: NDArray[np.floating], delta: float, method: Bound = Bound.BETTING) -> tuple[float, ...]:
    """For each threshold, the safest first, the smallest risk at which the same sequence of tests still reaches it.

    They never fall: a promise of less is kept by fewer thresholds. `losses`: [thresholds, samples].
    """
    uppers = [upper_bound(row, delta, method) for row in losses]
    return tuple(float(value) for value in np.maximum.accumulate(uppers))


def _check(epsilon: float, delta: float) -> None:
    for name, value in (("epsilon", epsilon), ("delta", delta)):
        if not 0 < value < 1:
            raise CalibrationError(f"{name} is {value} but must be between 0 and 1")
