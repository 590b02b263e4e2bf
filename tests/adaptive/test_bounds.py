"""Bounds on risk: exactness where it is known, validity by many draws, and refusals."""

import numpy as np
import pytest

from adaptive.bounds import Bound, betting_p_value, binomial_p_value, p_value, upper_bound
from adaptive.certify import certification_floor, certify, sequence_bounds
from adaptive.errors import CalibrationError
from adaptive.policy import NEVER


@pytest.mark.parametrize(
    ("epsilon", "delta", "floor"), [(0.05, 0.1, 45), (0.02, 0.1, 114), (0.01, 0.1, 230), (0.01, 0.05, 299)]
)
def test_floor_is_where_no_error_is_just_enough(epsilon: float, delta: float, floor: int) -> None:
    assert certification_floor(epsilon, delta) == floor
    assert binomial_p_value(np.zeros(floor), epsilon) <= delta < binomial_p_value(np.zeros(floor - 1), epsilon)


@pytest.mark.parametrize("bound", Bound)
@pytest.mark.parametrize("epsilon", [0.01, 0.05, 0.3])
def test_p_value_at_the_edge_is_small_no_more_often_than_it_says(bound: Bound, epsilon: float) -> None:
    random = np.random.default_rng(5)
    found = np.array([p_value(bound, random.random(400) < epsilon, epsilon) for _ in range(600)])
    for level in (0.05, 0.1, 0.2):
        # Three standard deviations above the level: a valid bound fails this about once in a thousand.
        assert (found <= level).mean() <= level + 3 * np.sqrt(level * (1 - level) / len(found))


def test_betting_holds_for_graded_losses_and_binomial_refuses_them() -> None:
    random = np.random.default_rng(6)
    found = np.array([betting_p_value(random.beta(0.2, 1.8, 300), 0.1) for _ in range(500)])
    assert (found <= 0.1).mean() <= 0.1 + 3 * np.sqrt(0.09 / len(found))
    with pytest.raises(CalibrationError, match="betting"):
        binomial_p_value(np.array([0.5, 0.0]), 0.1)


@pytest.mark.parametrize("bound", Bound)
def test_upper_bound_is_between_the_mean_and_one_and_shrinks_with_samples(bound: Bound) -> None:
    losses = np.tile([0.0] * 49 + [1.0], 40)
    few, many = upper_bound(losses[:200], 0.1, bound), upper_bound(losses, 0.1, bound)
    assert 0.02 < many < few < 0.1


@pytest.mark.parametrize("losses", [np.array([]), np.array([1.2]), np.array([-0.1]), np.array([np.nan])])
def test_losses_out_of_range_are_refused(losses: np.ndarray) -> None:
    with pytest.raises(CalibrationError, match="from 0 to 1"):
        betting_p_value(losses, 0.1)


@pytest.mark.parametrize("bound", Bound)
def test_certify_below_the_floor_is_refused_with_the_number_needed(bound: Bound) -> None:
    floor = certification_floor(0.01, 0.1, bound)
    with pytest.raises(CalibrationError, match=f"at least {floor}"):
        certify([NEVER], np.zeros((1, floor - 1)), 0.01, 0.1, bound)
    assert certify([NEVER], np.zeros((1, floor)), 0.01, 0.1, bound) is not None
    assert 230 <= floor <= 290


def test_certify_stops_at_the_first_failure_even_if_later_thresholds_look_better() -> None:
    good, bad = np.zeros(500), (np.arange(500) % 10 == 0).astype(float)
    found = certify([4.0, 3.0, 2.0, 1.0], np.stack([good, good, bad, good]), 0.05, 0.1)
    assert found is not None
    assert (found.threshold, found.tested) == (3.0, 3)
    assert certify([4.0, 3.0], np.stack([bad, good]), 0.05, 0.1) is None


def test_bounds_of_the_sequence_never_fall_and_end_within_epsilon() -> None:
    random = np.random.default_rng(1)
    losses = np.stack([random.random(800) < risk for risk in (0.0, 0.004, 0.001, 0.008)]).astype(float)
    found = certify([4.0, 3.0, 2.0, 1.0], losses, 0.03, 0.1)
    assert found is not None and (found.threshold, found.index) == (1.0, 3)
    bounds = sequence_bounds(losses, 0.1)
    assert list(bounds) == sorted(bounds)
    assert found.risk < bounds[-1] <= 0.03 + 1e-4
