"""The enforced accounting against exact and independent ones: never below the truth, and not far above it."""

import math
import random
from collections.abc import Callable
from functools import cache
from typing import Any

import pytest
from scipy.optimize import brentq
from scipy.stats import norm

from privacy.errors import MechanismError
from privacy.ledger.accounting import epsilon_of_rho, rho_of_epsilon_delta
from privacy.ledger.advice import advise
from privacy.mechanisms.costs import rho_of_bounded_range, rho_of_gaussian, rho_of_pure_epsilon
from privacy.types import Event

#: Steps of privacy loss in the reference. It rounds up, so it is never below the exact composition.
STEP = 0.01
NOISE_MULTIPLIERS = (0.8, 1.5, 3.0, 6.0, 12.0, 25.0)
RANGES = (0.1, 0.3, 0.8, 2.0, 5.0, 12.0)
RESPONSES = ((0.3, 2), (1.0, 2), (2.0, 10), (3.0, 3), (5.0, 30))
DELTAS = (1e-9, 1e-6, 1e-4, 1e-2)


@cache
def reference() -> Any:
    from dp_accounting.pld import privacy_loss_distribution

    return privacy_loss_distribution


@cache
def repeated(loss: Any, times: int) -> Any:
    return loss.self_compose(times)


@cache
def gaussian(noise_multiplier: float) -> tuple[float, Any]:
    loss = reference().from_gaussian_mechanism(noise_multiplier, value_discretization_interval=STEP)
    return rho_of_gaussian(noise_multiplier), loss


@cache
def exponential(eta: float, favoured: int, labels: int = 6) -> tuple[float, Any]:
    """One input has the highest score at the favoured labels and the lowest at the rest; another the reverse."""
    scores = [eta / 4 if label < favoured else -eta / 4 for label in range(labels)]
    one, other = ({label: sign * score for label, score in enumerate(scores)} for sign in (1, -1))
    totals = [math.log(sum(math.exp(score) for score in each.values())) for each in (one, other)]
    lower, upper = (
        {label: score - total for label, score in each.items()}
        for each, total in zip((one, other), totals, strict=True)
    )
    loss = reference().from_two_probability_mass_functions(
        lower, upper, value_discretization_interval=STEP, symmetric=False
    )
    return rho_of_bounded_range(eta), loss


@cache
def response(epsilon: float, labels: int) -> tuple[float, Any]:
    uniform = labels / (math.exp(epsilon) + labels - 1)
    loss = reference().from_randomized_response(uniform, labels, value_discretization_interval=STEP)
    return rho_of_pure_epsilon(epsilon), loss


def drawn_mechanism(chance: random.Random) -> tuple[float, Any]:
    kind: Callable[[], tuple[float, Any]] = chance.choice(
        [
            lambda: gaussian(chance.choice(NOISE_MULTIPLIERS)),
            lambda: exponential(chance.choice(RANGES), chance.randrange(1, 6)),
            lambda: response(*chance.choice(RESPONSES)),
        ]
    )
    return kind()


def test_enforced_epsilon_is_never_below_the_composed_one_on_1000_sequences() -> None:
    chance = random.Random(4)
    for number in range(1000):
        rho, total = 0.0, reference().identity(value_discretization_interval=STEP)
        for _ in range(chance.randint(1, 4)):
            cost, loss = drawn_mechanism(chance)
            times = chance.choice((1, 1, 2, 5, 12))
            rho, total = rho + times * cost, total.compose(repeated(loss, times))
        delta = chance.choice(DELTAS)
        assert epsilon_of_rho(rho, delta) >= total.get_epsilon_for_delta(delta), (number, rho, delta)


def test_enforced_epsilon_is_within_15_percent_for_100_gaussians() -> None:
    rho = rho_of_epsilon_delta(1.0, 1e-6)
    _, loss = gaussian(math.sqrt(0.5 / rho))
    composed = loss.self_compose(100).get_epsilon_for_delta(1e-6)
    enforced = epsilon_of_rho(100 * rho, 1e-6)
    assert composed <= enforced <= 1.15 * composed
    assert enforced < 16 < 100, "and nowhere near the sum of epsilons"


def exact_gaussian_epsilon(rho: float, delta: float) -> float:
    """Balle and Wang, 2018, theorem 8: the exact epsilon of a Gaussian mechanism, or of several together."""
    mu = math.sqrt(2 * rho)

    def excess(epsilon: float) -> float:
        return float(norm.cdf(mu / 2 - epsilon / mu) - math.exp(epsilon) * norm.cdf(-mu / 2 - epsilon / mu)) - delta

    return float(brentq(excess, 0.0, 200.0)) if excess(0.0) > 0 else 0.0


@pytest.mark.parametrize("rho", [1e-6, 1e-4, 1e-2, 0.1, 1.0, 10.0])
@pytest.mark.parametrize("delta", [1e-12, 1e-9, 1e-6, 1e-3, 0.1])
def test_epsilon_is_at_least_the_exact_one_of_gaussians(rho: float, delta: float) -> None:
    exact, enforced = exact_gaussian_epsilon(rho, delta), epsilon_of_rho(rho, delta)
    # Where the two inputs' outputs differ by less than delta in all, the exact one is 0.
    assert exact <= enforced <= 1.35 * exact + 2.0 * math.sqrt(rho)


@pytest.mark.parametrize("rho", [1e-3, 0.03, 0.5, 4.0])
@pytest.mark.parametrize("delta", [1e-9, 1e-6, 1e-3])
def test_epsilon_agrees_with_opendp(rho: float, delta: float) -> None:
    import opendp.prelude as dp

    dp.enable_features("contrib")
    space = dp.atom_domain(T=float, nan=False), dp.absolute_distance(T=float)
    noised = dp.m.make_gaussian(*space, scale=math.sqrt(0.5 / rho))
    profile = dp.c.make_zCDP_to_approxDP(noised).map(1.0)
    assert epsilon_of_rho(rho, delta) == pytest.approx(profile.epsilon(delta), rel=1e-6)
    assert epsilon_of_rho(rho, delta) >= profile.epsilon(delta) * (1 - 1e-9)


@pytest.mark.parametrize("delta", DELTAS)
@pytest.mark.parametrize("epsilon", [0.01, 0.5, 1.0, 8.0, 64.0, 1000.0])
def test_budget_comes_back_as_at_most_its_epsilon(epsilon: float, delta: float) -> None:
    rho = rho_of_epsilon_delta(epsilon, delta)
    assert epsilon * (1 - 1e-9) <= epsilon_of_rho(rho, delta) <= epsilon


def test_more_rho_or_less_delta_is_more_epsilon() -> None:
    for rho in (1e-4, 0.01, 1.0, 30.0):
        assert epsilon_of_rho(rho * 1.01, 1e-6) > epsilon_of_rho(rho, 1e-6)
        assert epsilon_of_rho(rho, 1e-7) > epsilon_of_rho(rho, 1e-6)


def test_ends_of_the_ranges() -> None:
    assert epsilon_of_rho(0.0, 1e-6) == epsilon_of_rho(0.0, 0.0) == 0.0
    assert epsilon_of_rho(1.0, 0.0) == math.inf


@pytest.mark.parametrize(
    ("rho", "delta"),
    [(-1.0, 1e-6), (math.nan, 1e-6), (math.inf, 1e-6), (1.0, -1e-9), (1.0, 1.0), (1.0, math.nan)],
)
def test_rho_or_delta_out_of_range_is_refused(rho: float, delta: float) -> None:
    with pytest.raises(MechanismError, match="out of range"):
        epsilon_of_rho(rho, delta)


@pytest.mark.parametrize(
    ("epsilon", "delta"), [(0.0, 1e-6), (-1.0, 1e-6), (math.inf, 1e-6), (math.nan, 1e-6), (1.0, 0.0), (1.0, 1.0)]
)
def test_budget_that_is_none_is_refused(epsilon: float, delta: float) -> None:
    with pytest.raises(MechanismError, match="must be positive"):
        rho_of_epsilon_delta(epsilon, delta)


def event(kind: str, count: int, **parameters: float) -> Event:
    return Event(kind, tuple(parameters.items()), count)


def test_advice_is_tighter_and_close_to_the_reference() -> None:
    """The anchor: 100 Gaussians of epsilon 1 each come to 13.5."""
    advice = advise(
        [event("gaussian", 60, noise_multiplier=4.2248), event("gaussian", 40, noise_multiplier=4.2248)], 1e-6
    )
    exact = exact_gaussian_epsilon(100 * rho_of_gaussian(4.2248), 1e-6)
    assert advice.prv_epsilon is not None and advice.rdp_epsilon is not None
    assert exact <= advice.prv_epsilon <= exact + 0.05
    assert advice.prv_epsilon < advice.rdp_epsilon < 1.01 * epsilon_of_rho(100 * rho_of_gaussian(4.2248), 1e-6)


def test_advice_on_discrete_gaussians_is_the_renyi_one_alone() -> None:
    advice = advise([event("discrete-gaussian", 10, noise_multiplier=3.0)], 1e-6)
    assert advice.prv_epsilon is None and advice.rdp_epsilon is not None
    assert "continuous" in advice.note


@pytest.mark.parametrize("kind", ["exponential", "randomised-response", "query", "no such"])
def test_advice_on_anything_else_is_none(kind: str) -> None:
    advice = advise([event(kind, 1, epsilon=1.0), event("gaussian", 1, noise_multiplier=1.0)], 1e-6)
    assert advice.prv_epsilon is advice.rdp_epsilon is None
    assert kind in advice.note
