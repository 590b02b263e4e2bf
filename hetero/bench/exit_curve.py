"""Accuracy against average depth, with baselines, certificates over many splits, and guesses before the run: figures.

All from one observation of every text through the pipeline. Knows observations; the drawing is `curve_svg.py`'s.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

import numpy as np
from scipy.stats import binomtest

from adaptive.bounds import Bound
from adaptive.certify import certification_floor, certify
from adaptive.complexity import baselines, rank_correlation, unigram_table
from adaptive.curves import oracle_exits, oracle_point, policy_curve, random_points, truncation_points
from adaptive.measures import certainty, probabilities
from adaptive.replay import Observations, all_scores, outcome
from hetero.exits.calibration import Plan, losses_of


def curve_document(plan: Plan, seen: Observations, labels: Sequence[int] | None) -> dict[str, object]:
    """Points of the policy over all exits and over those kept, of oracle, random exits and truncation."""
    wanted = None if labels is None else np.asarray(labels)
    every, kept = range(len(seen.depths)), plan.kept.exits
    lines = {
        "policy": policy_curve(plan.policy, seen, kept, wanted),
        "all exits": policy_curve(plan.policy, seen, every, wanted),
        "truncation": truncation_points(seen, wanted),
        "random exits": random_points(seen, every, wanted),
        "oracle": [oracle_point(seen, every, wanted)],
    }
    return {name: [asdict(point) for point in points] for name, points in lines.items()}


@dataclass(frozen=True, slots=True)
class Splits:
    """Certificates from so many random calibration sets of one size: the share whose promise the rest breaks.

    `high` is the upper end of its 95 % interval (Clopper-Pearson). `mean_depth` and `disagreement` are the rest's.
    """

    epsilon: float
    delta: float
    samples: int
    splits: int
    violated: int
    high: float
    mean_depth: float
    disagreement: float


def certificate_splits(
    plan: Plan, seen: Observations, epsilons: Sequence[float], sizes: Sequence[int], delta: float, bound: Bound,
    splits: int = 200, tell: Callable[[str], None] = lambda text: None,
) -> list[Splits]:  # fmt: skip
    """Calibrate on random parts of `seen`, and test each promise on all texts that were not in the part.

    Combinations without enough samples for a certificate are left out.
    """
    scores = all_scores(plan.policy, seen, plan.kept.exits)
    losses = losses_of(plan, seen)
    depths = np.array([outcome(scores, limit, seen).depths for limit in plan.thresholds])
    found = []
    for epsilon in epsilons:
        for size in (size for size in sizes if size >= certification_floor(epsilon, delta, bound)):
            tell(f"epsilon {epsilon:g}, {size} samples")
            found.append(_over_splits(plan.thresholds, losses, depths, epsilon, delta, size, bound, splits))
    return found


def _over_splits(
    thresholds: Sequence[float], losses: np.ndarray, depths: np.ndarray, epsilon: float, delta: float, size: int,
    bound: Bound, splits: int,
) -> Splits:  # fmt: skip
    random = np.random.default_rng(size)
    risks, layers = [], []
    for _ in range(splits):
        order = random.permutation(losses.shape[1])
        chosen = certify(thresholds, losses[:, order[:size]], epsilon, delta, bound)
        number = 0 if chosen is None else chosen.index
        risks.append(float(losses[number, order[size:]].mean()))
        layers.append(float(depths[number, order[size:]].mean()))
    violated = sum(risk > epsilon for risk in risks)
    high = float(binomtest(violated, splits).proportion_ci().high)
    return Splits(epsilon, delta, size, splits, violated, high, float(np.mean(layers)), float(np.mean(risks)))


def complexity_document(seen: Observations, token_ids: Sequence[Sequence[int]]) -> dict[str, float]:
    """Rank correlation of guesses before the run with the oracle's depth; the exits' first answer is one of them."""
    every = range(len(seen.depths))
    depths = np.array([*seen.depths, seen.block_count])[oracle_exits(seen, every)].tolist()
    table = unigram_table(token_ids)
    found = {name: rank_correlation([guess(ids) for ids in token_ids], depths) for name, guess in baselines().items()}
    found["surprisal"] = rank_correlation([table.surprisal(ids) for ids in token_ids], depths)
    doubt = 1 - certainty(probabilities(seen.logits[:, 0]))
    found["doubt of the first exit"] = rank_correlation(doubt.tolist(), depths)
    return found
