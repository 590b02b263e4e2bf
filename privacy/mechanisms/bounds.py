"""Lower bounds on a mechanism's privacy loss from its samples: what an attacker can prove it leaks.

Statistics alone, for tests and audits. An audit never proves privacy; it finds noise that is too small.
"""

from collections.abc import Callable

import numpy as np

from privacy.mechanisms.base import Floats, Integers

#: One-sided; each bound below holds with this confidence as a whole.
CONFIDENCE = 0.999


def clopper_pearson_lower(hits: int, trials: int, confidence: float) -> float:
    """The exact lower bound of a binomial probability (Clopper and Pearson, 1934)."""
    from scipy.stats import beta

    return float(beta.ppf(1 - confidence, hits, trials - hits + 1)) if hits > 0 else 0.0


def clopper_pearson_upper(hits: int, trials: int, confidence: float) -> float:
    """The exact upper bound of a binomial probability."""
    return 1 - clopper_pearson_lower(trials - hits, trials, confidence)


def epsilon_lower_bound(ours: Integers, theirs: Integers, confidence: float = CONFIDENCE) -> float:
    """A lower bound on pure epsilon from the labels that two inputs gave, int64 [N] each.

    The event is chosen on the first half (labels in order of their ratio), its probabilities bounded on the second.
    """
    split_ours, split_theirs = np.array_split(ours, 2), np.array_split(theirs, 2)
    event = _best_event(split_ours[0], split_theirs[0])
    hits, misses = (int(np.isin(half, event).sum()) for half in (split_ours[1], split_theirs[1]))
    each = 1 - (1 - confidence) / 2
    lower = clopper_pearson_lower(hits, len(split_ours[1]), each)
    upper = clopper_pearson_upper(misses, len(split_theirs[1]), each)
    return float(np.log(lower / upper)) if lower > 0 else 0.0


def _best_event(ours: Integers, theirs: Integers) -> Integers:
    """The labels most of ours: those whose ratio, rare ones shrunk, is the highest."""
    size = int(max(ours.max(), theirs.max())) + 1
    counts = [np.bincount(half, minlength=size) + 10.0 for half in (ours, theirs)]
    ratios = counts[0] / counts[1]
    return np.flatnonzero(ratios >= ratios.max() * 0.999)


def mu_lower_bound(ours: Floats, theirs: Floats, confidence: float = CONFIDENCE) -> float:
    """A lower bound on mu of Gaussian DP from a statistic of two inputs' outputs, float [N] each, ours the higher.

    The threshold is chosen on the first half; on the second, mu is at least what separates its true and false positive
    rates (Dong, Roth, Su, 2022, https://arxiv.org/abs/1905.02383, corollary 1).
    """
    split_ours, split_theirs = np.array_split(ours, 2), np.array_split(theirs, 2)
    thresholds = np.quantile(np.concatenate([split_ours[0], split_theirs[0]]), np.linspace(0.05, 0.95, 19))
    best = max(thresholds, key=_mu_at(split_ours[0], split_theirs[0], confidence))
    return _mu_at(split_ours[1], split_theirs[1], confidence)(float(best))


def _mu_at(ours: Floats, theirs: Floats, confidence: float) -> Callable[[float], float]:
    from scipy.stats import norm

    each = 1 - (1 - confidence) / 2

    def bound(threshold: float) -> float:
        hits, misses = int((ours > threshold).sum()), int((theirs > threshold).sum())
        lower = clopper_pearson_lower(hits, len(ours), each)
        upper = clopper_pearson_upper(misses, len(theirs), each)
        return float(norm.ppf(lower) - norm.ppf(upper))

    return bound


def chi_square_p(counts: Floats, probabilities: Floats) -> float:
    """Pearson's p-value of counts against probabilities, rare cells (under 10 expected) put together."""
    from scipy.stats import chisquare

    expected = probabilities * counts.sum()
    rare = expected < 10
    seen, wanted = counts[~rare], expected[~rare]
    if rare.any():
        seen, wanted = np.append(seen, counts[rare].sum()), np.append(wanted, expected[rare].sum())
    return float(chisquare(seen, wanted * (seen.sum() / wanted.sum())).pvalue)
