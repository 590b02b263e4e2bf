"""What mechanisms say they cost, against divergences computed from their distributions."""

import math

import numpy as np
import pytest

from privacy.mechanisms import costs, exact, mechanism_for
from privacy.mechanisms.grids import LOGIT_STEPS
from privacy.types import MechanismSpec

ORDERS = np.r_[np.linspace(1.001, 3, 60), np.geomspace(3, 400, 60)]


def divergence(ours: np.ndarray, theirs: np.ndarray, order: float) -> float:
    """Rényi's, of two finite distributions."""
    exponents = order * np.log(ours) + (1 - order) * np.log(theirs)
    return float(np.logaddexp.reduce(exponents)) / (order - 1)


def softmax(scores: np.ndarray) -> np.ndarray:
    weights = np.exp(scores - scores.max())
    return weights / weights.sum()


def spec(name: str, **parameters: float) -> MechanismSpec:
    return MechanismSpec(name, tuple((key, float(value)) for key, value in parameters.items()))


@pytest.mark.parametrize("epsilon", [0.05, 0.5, 1, 3, 8, 20])
def test_rho_of_pure_epsilon_covers_every_order_and_is_tight(epsilon: float) -> None:
    truth = math.exp(epsilon) / (1 + math.exp(epsilon))
    ours, theirs = np.array([truth, 1 - truth]), np.array([1 - truth, truth])
    rates = [divergence(ours, theirs, order) / order for order in ORDERS]
    assert max(rates) <= costs.rho_of_pure_epsilon(epsilon) * (1 + 1e-9)
    assert max(rates) >= costs.rho_of_pure_epsilon(epsilon) * 0.99


@pytest.mark.parametrize("eta", [0.1, 1, 4, 7.9, 8.1, 16, 30])
def test_rho_of_bounded_range_covers_random_pairs_of_that_range(eta: float) -> None:
    random = np.random.default_rng(0)
    for size in (2, 3, 16, 200):
        for _ in range(40):
            start = random.normal(0, 3, size)
            ratio = random.choice([0.0, eta], size, p=[0.9, 0.1])
            ours, theirs = softmax(start), softmax(start + ratio)
            worst = max(divergence(ours, theirs, order) / order for order in ORDERS)
            assert worst <= costs.rho_of_bounded_range(eta) * (1 + 1e-9)


@pytest.mark.parametrize("labels", [2, 3, 10, 1000])
@pytest.mark.parametrize("epsilon", [0.01, 1, 8])
def test_randomised_response_never_exceeds_its_epsilon(epsilon: float, labels: int) -> None:
    mechanism = mechanism_for(spec("randomised-response", epsilon=epsilon, labels=labels))
    other = (1 - mechanism.truth) / (labels - 1)
    assert math.log(mechanism.truth / other) <= epsilon
    assert math.log(mechanism.truth / other) == pytest.approx(epsilon, abs=1e-8)


def test_library_maps_agree_with_declared_costs() -> None:
    assert exact.gaussian_rho(10.0, 7.0) == pytest.approx(costs.rho_of_gaussian(10 / 7), rel=1e-9)
    tokens = mechanism_for(spec("bounded-logits", clip=2, temperature=2))
    assert exact.select_rho(tokens.checked_scale, 2 * LOGIT_STEPS) == pytest.approx(tokens.rho, rel=1e-9)


@pytest.mark.parametrize(
    ("given", "rho"),
    [
        (spec("randomised-response", epsilon=2, labels=3), 2 * math.tanh(1)),
        (spec("exponential", clip=2, temperature=4), 4 / 8),
        (spec("exponential", clip=2, epsilon=2), 4 / 8),
        (spec("bounded-logits", clip=1, temperature=1), 16 / 8),
        (spec("private-documents", clip=1, temperature=1, documents=4), 1 / 8),
        (spec("discrete-gaussian", clip=1, noise_multiplier=2), 1 / 8),
        (spec("discrete-gaussian", clip=3, rho=0.5), 0.5),
    ],
    ids=lambda value: value.name if isinstance(value, MechanismSpec) else "",
)
def test_charge_is_linear_in_count(given: MechanismSpec, rho: float) -> None:
    mechanism = mechanism_for(given)
    assert mechanism.charge(1).rho == pytest.approx(rho)
    assert mechanism.charge(7).rho == pytest.approx(7 * rho)
    assert mechanism.charge(7).event.count == 7


def test_events_are_what_other_accountants_know() -> None:
    """Google's accountant composes the events of ten Gaussians, and finds about what our rho says, and no more."""
    from dp_accounting import GaussianDpEvent
    from dp_accounting.pld import PLDAccountant

    charge = mechanism_for(spec("discrete-gaussian", clip=1, noise_multiplier=4)).charge(10)
    accountant = PLDAccountant()
    accountant.compose(GaussianDpEvent(dict(charge.event.parameters)["noise_multiplier"]), charge.event.count)
    bound = charge.rho + 2 * math.sqrt(charge.rho * math.log(1e6))
    assert bound * 0.7 <= accountant.get_epsilon(1e-6) <= bound
