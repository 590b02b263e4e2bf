"""Profiles, exits worth keeping, curves with their baselines, loads for the placer, guesses before the run."""

import numpy as np
import pytest
from scipy.stats import spearmanr

from adaptive.complexity import baselines, rank_correlation, unigram_table
from adaptive.curves import oracle_point, policy_curve, random_points, truncation_points
from adaptive.errors import AdaptiveError
from adaptive.keeping import keep_exits, pays
from adaptive.load import KvCosts, KvRule, fill_share, stage_load, survival_weights
from adaptive.measures import Measure
from adaptive.policy import ExitPolicy
from adaptive.profile import profile_of, read_profile
from adaptive.replay import Observations


def graded(count: int = 2000, seed: int = 0) -> Observations:
    """Two classes; input n is settled from exit number n % 4 on, and below that its exits guess, and show it."""
    random = np.random.default_rng(seed)
    final = np.where(random.random((count, 1)) < 0.5, [[4.0, -4.0]], [[-4.0, 4.0]])
    settled = np.arange(4)[None] >= (np.arange(count) % 4)[:, None]
    guesses = random.normal(0, 0.3, (count, 4, 2))
    logits = np.where(settled[..., None], final[:, None] + guesses, guesses)
    return Observations(logits, np.zeros((count, 4)), final, (1, 2, 3, 4), 5)


PLAIN = ExitPolicy(Measure.MAXIMUM, (1, 2, 3, 4), (1.0,) * 4)


def test_profile_survival_and_exit_share_of_known_depths() -> None:
    profile = profile_of([2, 2, 4, 6, 6, 6, 6, 6], 6)
    assert profile.survival() == (1.0, 1.0, 0.75, 0.75, 0.625, 0.625)
    assert profile.exit_share(2) == 0.25 and profile.exit_share(4) == pytest.approx(1 / 6)
    assert profile.mean_depth == 38 / 8
    assert read_profile(profile.document(), 6) == profile


def test_exit_pays_only_above_head_cost_over_remaining_cost() -> None:
    profile = profile_of([2] * 10 + [6] * 90, 6)
    assert pays(profile, 2, 0.39) and not pays(profile, 2, 0.41)


def test_costly_heads_leave_fewer_exits() -> None:
    seen = graded()
    kept = [keep_exits(PLAIN, seen, cost, 0.01, 4) for cost in (0.0, 0.3, 5.0)]
    assert len(kept[0].exits) >= len(kept[1].exits) > len(kept[2].exits) == 0
    assert kept[0].disagreement <= 0.01
    assert kept[2].cost_blocks == 5


def test_curve_lies_between_oracle_and_baselines() -> None:
    seen = graded()
    curve = policy_curve(PLAIN, seen, range(4), None)
    oracle = oracle_point(seen, range(4), None)
    good = min((point for point in curve if point.disagreement <= 0.01), key=lambda point: point.mean_depth)
    assert oracle.disagreement == 0 and oracle.mean_depth <= good.mean_depth < 3
    at_depth = [point for point in truncation_points(seen, None) if point.mean_depth <= good.mean_depth]
    assert all(point.accuracy < good.accuracy - 0.1 for point in at_depth)
    near = min(random_points(seen, range(4), None), key=lambda point: abs(point.mean_depth - good.mean_depth))
    assert near.accuracy < good.accuracy - 0.1


@pytest.mark.parametrize(
    ("rule", "beta"),
    [(KvRule.NONE, 0), (KvRule.EVICT, 0), (KvRule.STATE_COPY, 0.2), (KvRule.PIPELINED, 1), (KvRule.VERIFY, 1.5),
     (KvRule.DEFERRED_BATCH, 0.5 / 4 + 0.5)],
)  # fmt: skip
def test_fill_share_by_rule(rule: KvRule, beta: float) -> None:
    assert fill_share(rule, KvCosts(0.2, 4, 0.5, 1.5)) == pytest.approx(beta)


def test_stage_load_weights_blocks_and_adds_heads() -> None:
    profile = profile_of([1] * 50 + [3] * 50, 3)
    weights = survival_weights(profile, KvRule.NONE)
    assert weights == (1.0, 0.5, 0.5)
    assert stage_load(0, 1, [2.0] * 3, weights, head_seconds={1: 0.1}) == pytest.approx(2.1)
    assert stage_load(1, 3, [2.0] * 3, weights, head_seconds={1: 0.1}) == pytest.approx(2.0)
    copied = survival_weights(profile, KvRule.STATE_COPY, KvCosts(0.2))
    assert stage_load(1, 3, [2.0] * 3, copied) == pytest.approx(2.4)
    with pytest.raises(AdaptiveError):
        stage_load(2, 5, [2.0] * 3, weights)


def test_rank_correlation_is_spearmans() -> None:
    random = np.random.default_rng(0)
    first, second = random.integers(0, 5, 200), random.integers(0, 5, 200)
    assert rank_correlation(first.tolist(), second.tolist()) == pytest.approx(spearmanr(first, second).statistic)
    assert rank_correlation([1.0] * 5, [1, 2, 3, 4, 5]) == 0


def test_guesses_before_the_run_know_what_they_say() -> None:
    table = unigram_table([[1, 1, 1, 2]])
    assert table.surprisal([1]) < table.surprisal([2]) < table.surprisal([3])
    guesses = baselines()
    assert guesses["constant"]([1, 2]) == guesses["constant"]([3])
    assert guesses["length"]([1, 2]) == 2
    assert guesses["hash"]([1, 2]) == guesses["hash"]([1, 2]) != guesses["hash"]([2, 1])
