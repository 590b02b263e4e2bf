"""From floating-point numbers to bounded integers: where sensitivity is made, whatever comes in.

Every input gives an output: NaN and infinities are mapped, never refused, for a refusal would tell of the data. What
depends on shapes is checked by the callers. The bounds hold for the integers themselves, so no rounding of the
floating-point steps before can exceed them.
"""

import math

import numpy as np

from privacy.mechanisms.base import Floats, Integers

#: Steps from 0 to the clip of logits. Rounding moves a logit by at most clip / 8192.
LOGIT_STEPS = 4096


def vector_radius(steps: float, width: int) -> float:
    """The L2 bound of a gridded vector: clip / grid, and sqrt(width) / 2 for rounding each coordinate by up to 1/2."""
    return steps + math.sqrt(width) / 2


def grid_vectors(vectors: Floats, clip: float, steps: float) -> Integers:
    """Rows of L2 norm at most `clip`, in units of clip / steps, int64 [N, D]; norms stay within `vector_radius`.

    NaN counts as 0 and an infinity as the largest finite number. The zero vector stays zero.
    """
    rows = np.nan_to_num(np.asarray(vectors, np.float64))
    # Norms of huge rows would overflow: the largest coordinate is taken out first.
    largest = np.abs(rows).max(axis=1, keepdims=True, initial=0.0)
    unit = rows / np.where(largest > 0, largest, 1.0)
    norms = np.linalg.norm(unit, axis=1, keepdims=True)
    with np.errstate(over="ignore"):
        lengths = np.minimum(norms * largest, clip)
    scaled = unit / np.where(norms > 0, norms, 1.0) * (lengths / clip * steps)
    return _within(np.rint(scaled).astype(np.int64), vector_radius(steps, rows.shape[1]))


def _within(rows: Integers, radius: float) -> Integers:
    """Put to zero what left the ball: a bound on the integers themselves, whatever the steps before did."""
    outside = np.square(rows).sum(axis=1) > radius * radius
    return np.where(outside[:, None], 0, rows)


def top_at_zero(logits: Floats) -> Floats:
    """Logits below their row's highest, float64 [..., V]: the highest is 0, NaN counts as -inf.

    Moving a row does not change its softmax, so each input may be moved by what suits it.
    """
    rows = np.asarray(logits, np.float64)
    rows = np.where(np.isnan(rows), -np.inf, rows)
    highest = rows.max(axis=-1, keepdims=True)
    with np.errstate(invalid="ignore", over="ignore"):
        moved: Floats = np.where(rows == highest, 0.0, rows - highest)
    return moved


def bound_logits(logits: Floats, clip: float) -> Integers:
    """Logits moved so that the highest is at +clip, clipped at -clip, in units of clip / LOGIT_STEPS: int64, bounded.

    All of -LOGIT_STEPS ... LOGIT_STEPS; two rows never differ by more than 2 * LOGIT_STEPS anywhere.
    """
    return _steps(top_at_zero(logits) + clip, clip)


def log_probabilities(logits: Floats) -> Floats:
    """The log-softmax of rows [..., V], float64. NaN counts as -inf."""
    moved = top_at_zero(logits)
    logs: Floats = moved - np.log(np.exp(moved).sum(axis=-1, keepdims=True))
    return logs


def bound_differences(private: Floats, public: Floats, clip: float) -> Integers:
    """private - public, clipped to +-clip, in units of clip / LOGIT_STEPS: int64 of private's shape.

    Both are log-probabilities; a difference that is no number (both are -inf) is 0.
    """
    with np.errstate(invalid="ignore", over="ignore"):
        differences = np.asarray(private, np.float64) - np.asarray(public, np.float64)
    return _steps(np.where(np.isnan(differences), 0.0, differences), clip)


def _steps(values: Floats, clip: float) -> Integers:
    """Clip, then round to whole steps; clipped again as integers."""
    steps = np.rint(np.clip(values, -clip, clip) * (LOGIT_STEPS / clip)).astype(np.int64)
    bounded: Integers = np.clip(steps, -LOGIT_STEPS, LOGIT_STEPS)
    return bounded
