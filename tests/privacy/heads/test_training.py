"""Heads trained with DP-SGD: what is spent, what is learnt, and that a row's part in a step is bounded and noised."""

import math

import numpy as np
import pytest

from privacy.errors import MechanismError
from privacy.heads.card import HeadCard, Training, read_card
from privacy.heads.network import HeadShape, InputNoise, make_network
from privacy.heads.training import GRADIENT_STEPS, Recipe, _batches, _PrivateGradients, spent_epsilon, train_head
from privacy.mechanisms.bounds import mu_lower_bound
from privacy.mechanisms.grids import vector_radius
from privacy.types import Guarantee

ROWS, WIDTH = 3000, 24


def two_clouds(seed: int = 0, rows: int = ROWS) -> tuple[np.ndarray, np.ndarray]:
    """Unit vectors of two classes that a line separates but for a few."""
    random = np.random.default_rng(seed)
    labels = random.integers(0, 2, rows)
    vectors = random.normal(size=(rows, WIDTH)) + np.outer(2 * labels - 1, np.r_[2.0, np.zeros(WIDTH - 1)])
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32), labels


def right_share(weights: dict[str, np.ndarray], rows: np.ndarray, labels: np.ndarray) -> float:
    for layer in ("hidden",) * ("hidden.weight" in weights):
        rows = np.maximum(rows @ weights[f"{layer}.weight"].T + weights[f"{layer}.bias"], 0)
    logits = rows @ weights["output.weight"].T + weights["output.bias"]
    return float((logits.argmax(axis=1) == labels).mean())


@pytest.mark.parametrize("hidden", [0, 8])
def test_head_learns_within_its_epsilon(hidden: int) -> None:
    vectors, labels = two_clouds()
    told: list[tuple[int, int]] = []
    recipe = Recipe(4.0, 1e-5, hidden, epochs=15, batch=500, learning_rate=1.0)
    head = train_head(vectors, labels, 2, recipe, lambda done, whole: told.append((done, whole)))
    assert head.epsilon is not None and 3.5 < head.epsilon <= 4.0
    assert right_share(head.weights, *two_clouds(1)) > 0.9
    assert told[-1] == (head.training.steps, head.training.steps) == (90, 90)


def test_head_without_dp_says_so() -> None:
    head = train_head(*two_clouds(), 2, Recipe(None, 1e-5, epochs=10, batch=500))
    assert head.epsilon is None and head.training.noise_multiplier == 0
    assert right_share(head.weights, *two_clouds(1)) > 0.95


@pytest.mark.parametrize(
    ("noise", "rate", "steps"), [(1.1, 0.05, 400), (3.0, 0.15, 270), (10.5, 0.15, 270), (8.0, 1.0, 30)]
)
def test_spent_epsilon_is_what_googles_accountant_says(noise: float, rate: float, steps: int) -> None:
    from dp_accounting import GaussianDpEvent, PoissonSampledDpEvent, SelfComposedDpEvent
    from dp_accounting.pld import PLDAccountant

    accountant = PLDAccountant()
    accountant.compose(SelfComposedDpEvent(PoissonSampledDpEvent(rate, GaussianDpEvent(noise)), steps))
    spent = spent_epsilon(Training(ROWS, steps, rate, 1.0, noise), 1e-5)
    assert spent == pytest.approx(accountant.get_epsilon(1e-5), abs=0.05)


def gradients(noise: float, clip: float = 1.0) -> _PrivateGradients:
    network = make_network(HeadShape(4, 2), None)
    return _PrivateGradients(network, Training(2, 1, 1.0, clip, noise))


@pytest.mark.parametrize("value", [1e30, math.nan, math.inf, 0.0, 1.0])
def test_a_row_moves_the_sum_no_more_than_declared(value: float) -> None:
    """Integers, so adding a row moves the sum by exactly that row's gradient, whatever is in it."""
    import torch

    step = gradients(1.0, clip=0.5)
    rows, labels = torch.randn(6, 4), torch.tensor([0, 1, 0, 1, 0, 1])
    rows[5] = value
    moved = step._sum(rows, labels) - step._sum(rows[:5], labels[:5])
    assert np.sqrt(np.square(moved).sum()) <= vector_radius(GRADIENT_STEPS, 10)
    assert (step._sum(rows[:0], labels[:0]) == 0).all()


@pytest.mark.parametrize("strength", [1.0, 0.5])
def test_audit_of_a_step_confirms_its_noise_and_catches_half(strength: float) -> None:
    """One row, there or not, in a step whose noise is the clip itself: mu is 1, and 2 with half the noise."""
    import torch

    torch.manual_seed(0)
    step = gradients(1.0)
    step._scale *= strength
    rows = 1e6 * torch.ones(1, 4)
    with torch.no_grad():
        labels = step._wrapped(rows).argmin(dim=1)
    direction = step._sum(rows, labels).astype(float)
    direction /= np.linalg.norm(direction)

    def projected(count: int) -> np.ndarray:
        found = []
        for _ in range(600):
            step.put(rows[:count], labels[:count])
            found.append(np.concatenate([p.grad.numpy().ravel() for p in step._parameters]) @ direction)
        return np.array(found)

    assert (mu_lower_bound(projected(1), projected(0)) <= 1.0) == (strength == 1.0)


def test_rows_join_steps_at_the_rate() -> None:
    plan = Training(10_000, 200, 0.25, 1.0, 1.0)
    counts = np.array([len(chosen) for chosen in _batches(plan)])
    # Binomial: mean 2500 a step, deviation 43; over 200 steps the mean is within 3 but once in 10^9.
    assert abs(counts.mean() - 2500) < 20
    assert 30 < counts.std() < 60


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"delta": 0.01}, "delta must be below"),
        ({"epsilon": -1.0}, "epsilon must be above 0"),
        ({"epsilon": 1e-9}, "no noise gives"),
    ],
)
def test_training_refuses_what_promises_nothing(change: dict[str, float], says: str) -> None:
    settings = {"epsilon": 1.0, "delta": 1e-5, "epochs": 1} | change
    with pytest.raises(MechanismError, match=says):
        train_head(*two_clouds(), 2, Recipe(**settings))


def test_training_refuses_labels_and_features_that_do_not_fit() -> None:
    vectors, labels = two_clouds(rows=10)
    for wrong in ((vectors[:5], labels), (vectors, labels + 1), (np.full_like(vectors, np.nan), labels)):
        with pytest.raises(MechanismError):
            train_head(*wrong, 2, Recipe(None, 1e-5, epochs=1))


@pytest.mark.parametrize(
    "promise", [None, Guarantee("training row", "add-or-remove-one", "all", "ever", 4, 1e-5, "PRV")]
)
def test_card_reads_back_and_says_what_it_promises(promise: Guarantee | None) -> None:
    shape, training = HeadShape(384, 2, 8, 2), Training(9, 8, 0.5, 1, 2)
    card = HeadCard("a-model", "f" * 64, ("bad", "good"), shape, training, promise, InputNoise(1, 2))
    assert read_card(card.to_json()) == card
    said = card.to_markdown()
    assert ("(epsilon 4, delta 1e-05)-differential privacy" in said) == (promise is not None)
    assert ("None: whoever has the weights" in said) == (promise is None)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"format": 2}', '{"format": 1, "backbone": "x"}'])
def test_broken_card_is_refused(text: str) -> None:
    with pytest.raises(MechanismError, match="card"):
        read_card(text)
