"""What can be read off an exit about whether its answer is the full model's. Each score is higher where it is safer.

All take arrays over rows: class logits [N, C], and for some what the exits before said. Knows numbers only.
"""

from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


class Measure(StrEnum):
    """The measures of confidence. Patience and saturation look back: at a first exit they are 0 and the state's own."""

    MAXIMUM = "maximum"
    MARGIN = "margin"
    ENTROPY = "entropy"
    PATIENCE = "patience"
    SATURATION = "saturation"
    GATE = "gate"


def probabilities(logits: NDArray[np.floating], temperature: float = 1.0) -> Floats:
    """Softmax over the last axis; a single logit becomes the logistic function and its complement."""
    scaled = np.asarray(logits, np.float64) / temperature
    if scaled.shape[-1] == 1:
        scaled = np.concatenate([np.zeros_like(scaled), scaled], axis=-1)
    weights = np.exp(scaled - scaled.max(axis=-1, keepdims=True))
    shares: Floats = weights / weights.sum(axis=-1, keepdims=True)
    return shares


def maximum(shares: Floats) -> Floats:
    """The largest probability, [N]."""
    found: Floats = shares.max(axis=-1)
    return found


def margin(shares: Floats) -> Floats:
    """The largest probability less the second largest, [N]."""
    top = np.partition(shares, -2, axis=-1)[..., -2:]
    found: Floats = top[..., 1] - top[..., 0]
    return found


def certainty(shares: Floats) -> Floats:
    """One less the entropy in units of its maximum, [N]: 1 where one class has everything, 0 where all are alike."""
    logs = np.log(np.maximum(shares, 1e-300))
    found: Floats = 1 + (shares * logs).sum(axis=-1) / np.log(shares.shape[-1])
    return found


def answers(logits: NDArray[np.floating]) -> NDArray[np.int64]:
    """The predicted class, [N]; of a single logit whether it is positive."""
    if logits.shape[-1] == 1:
        return (logits[..., 0] > 0).astype(np.int64)
    chosen: NDArray[np.int64] = logits.argmax(axis=-1)
    return chosen


def patience(current: NDArray[np.int64], earlier: NDArray[np.int64]) -> Floats:
    """How many exits in a row, the latest before this one first, gave the same answer: [N] of [N] and [N, earlier].

    Exits that were not asked (-1) are passed over. After PABEE (Zhou et al. 2020).
    """
    latest = earlier[:, ::-1]
    same = latest == current[:, None]
    unbroken = np.cumprod(same | (latest < 0), axis=1).astype(bool)
    found: Floats = (same & unbroken).sum(axis=1).astype(np.float64)
    return found


def features(shares: Floats, run: Floats) -> Floats:
    """What a learned gate looks at, [N, 5]: measures that do not depend on where the blocks before are cut."""
    gap = margin(shares)
    clipped = np.clip(gap, 1e-6, 1 - 1e-6)
    columns = (np.ones_like(gap), shares.max(axis=-1), np.log(clipped / (1 - clipped)), certainty(shares), run)
    return np.stack(columns, axis=1)


def scores(measure: Measure, shares: Floats, run: Floats, saturation: Floats, gate: Floats | None = None) -> Floats:
    """The score [N] of `measure` from probabilities [N, C], patience [N] and saturation [N]; `gate`: weights [5]."""
    if measure is Measure.MAXIMUM:
        return maximum(shares)
    if measure is Measure.MARGIN:
        return margin(shares)
    if measure is Measure.ENTROPY:
        return certainty(shares)
    if measure is Measure.PATIENCE:
        # The whole number counts; the probability decides among equals, so that thresholds exist between.
        return run + maximum(shares)
    if measure is Measure.SATURATION:
        return saturation
    assert gate is not None, "a gate has weights"
    found: Floats = 1 / (1 + np.exp(-np.clip(features(shares, run) @ gate, -60, 60)))
    return found
