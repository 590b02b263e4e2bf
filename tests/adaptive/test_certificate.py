"""The certificate over many splits of synthetic inputs whose true risk at every threshold is known."""

import numpy as np
import pytest
from scipy.stats import binomtest

from adaptive.bounds import Bound
from adaptive.certify import certify

SPLITS, DELTA = 200, 0.1
THRESHOLDS = np.linspace(1, 0, 50)


def risk_curve(kind: str) -> np.ndarray:
    """The true risk at each threshold, the safest first."""
    steps = np.linspace(0, 1, len(THRESHOLDS))
    if kind == "monotone":
        return 0.2 * steps**2
    # Falls back below every epsilon after a hump: a rule that looks for the last good threshold goes wrong here.
    return np.clip(0.2 * steps**2 + 0.03 * np.sin(9 * steps), 0, 1)


def drawn_losses(random: np.random.Generator, risks: np.ndarray, count: int) -> np.ndarray:
    """Losses [thresholds, count] of inputs that are one and the same along the thresholds."""
    return (random.random(count) < risks[:, None]).astype(float)


@pytest.mark.parametrize("kind", ["monotone", "humped"])
@pytest.mark.parametrize("bound", Bound)
@pytest.mark.parametrize("epsilon", [0.02, 0.05])
@pytest.mark.parametrize("count", [150, 500, 1500])
def test_violated_share_is_within_delta(kind: str, bound: Bound, epsilon: float, count: int) -> None:
    risks, random = risk_curve(kind), np.random.default_rng(count)
    violated = 0
    for _ in range(SPLITS):
        found = certify(THRESHOLDS.tolist(), drawn_losses(random, risks, count), epsilon, DELTA, bound)
        if found is not None:
            violated += risks[np.searchsorted(-THRESHOLDS, -found.threshold)] > epsilon
    # The promise is refuted only where the share is above delta beyond chance.
    assert binomtest(violated, SPLITS, DELTA, alternative="greater").pvalue > 0.01


def test_more_samples_certify_lower_thresholds() -> None:
    risks, random = risk_curve("monotone"), np.random.default_rng(3)
    means = []
    for count in (150, 500, 1500):
        found = [certify(THRESHOLDS.tolist(), drawn_losses(random, risks, count), 0.05, DELTA) for _ in range(40)]
        means.append(np.mean([each.threshold for each in found if each is not None]))
    assert means[0] > means[1] > means[2]


def test_a_threshold_by_the_mean_alone_would_break_its_promise() -> None:
    """Without a bound about half of all calibrations are wrong: that is what the bound is for."""
    risks, random = risk_curve("monotone"), np.random.default_rng(4)
    violated = 0
    for _ in range(SPLITS):
        means = drawn_losses(random, risks, 500).mean(axis=1)
        violated += risks[np.flatnonzero(means <= 0.05)[-1]] > 0.05
    assert violated > 0.25 * SPLITS
