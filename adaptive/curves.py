"""Answers against average depth: what a policy gives at every threshold, and what three baselines give.

The oracle leaves at the first exit whose answer is the full one and stays right to the end of knowledge; random exits
leave by chance; truncation stops everything at one depth. Knows replayed inputs.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from adaptive.policy import ExitPolicy
from adaptive.replay import Ints, Observations, Outcome, all_scores, grid, outcome, stopped_at


@dataclass(frozen=True, slots=True)
class Point:
    """`accuracy`: against labels, or against full depth where there are none."""

    mean_depth: float
    accuracy: float
    disagreement: float


def policy_curve(policy: ExitPolicy, seen: Observations, exits: Sequence[int], labels: Ints | None) -> list[Point]:
    """One point a threshold, the deepest first."""
    scores = all_scores(policy, seen, exits)
    lowest = float(scores[np.isfinite(scores)].min()) if np.isfinite(scores).any() else 0.0
    return [_point(outcome(scores, limit, seen), labels, seen) for limit in (*grid(scores, 80), lowest)]


def oracle_point(seen: Observations, exits: Sequence[int], labels: Ints | None) -> Point:
    """Each input at the first of `exits` that gives the full answer: no policy without error goes less deep."""
    return _point(stopped_at(oracle_exits(seen, exits), seen), labels, seen)


def oracle_exits(seen: Observations, exits: Sequence[int]) -> Ints:
    """The first exit among `exits` that gives the full answer, by number; the number of all exits where none does."""
    agrees = seen.agreement() & np.isin(np.arange(len(seen.depths)), list(exits))
    found: Ints = np.where(agrees.any(axis=1), agrees.argmax(axis=1), len(seen.depths))
    return found


def truncation_points(seen: Observations, labels: Ints | None) -> list[Point]:
    """All inputs at one depth, for every exit and for full depth."""
    numbers = range(len(seen.depths) + 1)
    return [_point(stopped_at(np.full(len(seen), number), seen), labels, seen) for number in numbers]


def random_points(
    seen: Observations, exits: Sequence[int], labels: Ints | None, seed: int = 0, steps: int = 9
) -> list[Point]:
    """At each exit a coin decides, the same one everywhere; for several coins."""
    random = np.random.default_rng(seed)
    return [_point(stopped_at(_tossed(seen, exits, share, random), seen), labels, seen)
            for share in np.linspace(0.1, 0.9, steps)]  # fmt: skip


def _tossed(seen: Observations, exits: Sequence[int], share: float, random: np.random.Generator) -> Ints:
    heads: NDArray[np.bool_] = random.random((len(seen), len(seen.depths))) < share
    heads &= np.isin(np.arange(len(seen.depths)), list(exits))
    found: Ints = np.where(heads.any(axis=1), heads.argmax(axis=1), len(seen.depths))
    return found


def _point(after: Outcome, labels: Ints | None, seen: Observations) -> Point:
    wanted = seen.full_answers if labels is None else labels
    return Point(after.mean_depth, float((after.answers == wanted).mean()), after.disagreement)
