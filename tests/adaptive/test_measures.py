"""Measures of confidence and what is fitted to them, against values worked out by hand and synthetic exits."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from adaptive.errors import AdaptiveError, CalibrationError
from adaptive.fitting import best_measure, fit_policy, rank_measures
from adaptive.measures import Measure, answers, certainty, margin, maximum, patience, probabilities
from adaptive.policy import NEVER, ExitPolicy, ExitView, policy_of
from adaptive.ranking import auroc, fit_temperature
from adaptive.replay import Observations, all_scores, grid, outcome


def observations(count: int = 600, exits: int = 3, classes: int = 3, seed: int = 0) -> Observations:
    """Exits that see the final logits through noise that fades with depth."""
    random = np.random.default_rng(seed)
    final = random.normal(0, 3, (count, classes))
    noise = np.array([4.0, 2.0, 0.7])[:exits]
    logits = 2.5 * (final[:, None] + random.normal(0, 1, (count, exits, classes)) * noise[:, None])
    saturation = 1 - noise / 10 + random.normal(0, 0.01, (count, exits))
    return Observations(logits, saturation, final, (1, 2, 4)[:exits], 6)


def test_measures_of_known_shares() -> None:
    shares = np.array([[0.7, 0.2, 0.1], [1 / 3, 1 / 3, 1 / 3], [1.0, 0.0, 0.0]])
    assert maximum(shares) == pytest.approx([0.7, 1 / 3, 1])
    assert margin(shares) == pytest.approx([0.5, 0, 1])
    assert certainty(shares) == pytest.approx([1 - 0.8018 / np.log(3), 0, 1], abs=1e-4)


def test_single_logit_is_a_class_and_its_complement() -> None:
    assert probabilities(np.array([[2.0]]))[0] == pytest.approx([1 / (1 + np.e**2), 1 / (1 + np.e**-2)])
    assert answers(np.array([[2.0], [-2.0]])).tolist() == [1, 0]


@pytest.mark.parametrize(
    ("earlier", "expected"), [([0, 1, 1], 2), ([1, 1, 0], 0), ([1, -1, 1], 2), ([-1, -1, -1], 0), ([1, 0, -1], 0)]
)
def test_patience_counts_back_and_passes_over_exits_not_asked(earlier: list[int], expected: int) -> None:
    assert patience(np.array([1]), np.array([earlier])).tolist() == [expected]


def test_auroc_is_that_of_scikit_learn_with_ties() -> None:
    random = np.random.default_rng(2)
    score, right = random.integers(0, 8, 300).astype(float), random.random(300) < 0.6
    assert auroc(score, right) == pytest.approx(roc_auc_score(right, score))
    assert auroc(score, np.ones(300, bool)) == 0.5


def test_temperature_undoes_overconfidence() -> None:
    random = np.random.default_rng(3)
    honest = random.normal(0, 2, (4000, 4))
    shares = probabilities(honest)
    drawn = (shares.cumsum(axis=1) > random.random((4000, 1))).argmax(axis=1)
    assert fit_temperature(3 * honest, drawn) == pytest.approx(3, rel=0.1)


def test_policy_is_fitted_and_gate_ranks_at_least_about_as_well_as_its_parts() -> None:
    policy, fresh = fit_policy(observations()), observations(seed=1)
    ranks = {measure: np.mean(values) for measure, values in rank_measures(policy, fresh).items()}
    assert ranks[Measure.MAXIMUM] > 0.7
    assert ranks[Measure.GATE] > max(ranks.values()) - 0.02
    assert best_measure(rank_measures(policy, fresh)) in (
        Measure.GATE,
        Measure.MAXIMUM,
        Measure.MARGIN,
        Measure.ENTROPY,
    )


def test_too_few_observations_are_refused() -> None:
    with pytest.raises(CalibrationError, match="at least 50"):
        fit_policy(observations(49))


@pytest.mark.parametrize("measure", Measure)
def test_policy_survives_its_document_and_decides_as_its_replay(measure: Measure) -> None:
    seen = observations(200)
    fitted = fit_policy(seen)
    policy = policy_of(ExitPolicy(measure, fitted.depths, fitted.temperatures, fitted.gates).document())
    scores = all_scores(policy, seen, (0, 2))
    limit = float(np.quantile(scores[np.isfinite(scores)], 0.6))
    after = outcome(scores, limit, seen)
    left = np.full(len(seen), seen.block_count)
    passed = np.full((len(seen), 0), 0)
    for index in range(3):
        view = ExitView(index, seen.logits[:, index], passed, seen.saturation[:, index])
        stops = policy.decide(view, np.full(len(seen), limit if index in (0, 2) else NEVER))
        left = np.where(stops & (left == seen.block_count), seen.depths[index], left)
        asked = answers(seen.logits[:, index]) if index in (0, 2) else np.full(len(seen), -1)
        passed = np.concatenate([passed, asked[:, None]], axis=1)
    assert left.tolist() == after.depths.tolist()


def test_grid_begins_with_never_and_falls() -> None:
    scores = all_scores(fit_policy(observations()), observations(), range(3))
    thresholds = grid(scores)
    assert thresholds[0] == NEVER and list(thresholds) == sorted(thresholds, reverse=True)
    assert outcome(scores, NEVER, observations()).mean_depth == 6


@pytest.mark.parametrize("document", [{}, {"measure": "luck"}, {"measure": "gate", "depths": [1], "temperatures": [1]}])
def test_policy_of_a_wrong_document_is_refused(document: dict) -> None:
    with pytest.raises(AdaptiveError, match="calibrate again"):
        policy_of(document)
