"""Training a head on frozen features, with DP-SGD where an epsilon is given.

Per-row gradients and the accountant are Opacus'. The noise is not: rows' gradients are clipped and put on a grid, their
integer sum gets exact discrete Gaussian noise, so no floating-point sum or sampler stands between proof and weights.
Knows no model and no files.
"""

import math
import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from privacy.errors import MechanismError
from privacy.heads.card import Training
from privacy.heads.network import FloatRows, HeadShape, InputNoise, make_network, weights_of
from privacy.mechanisms import exact
from privacy.mechanisms.grids import grid_vectors, vector_radius

if TYPE_CHECKING:
    import torch

#: Steps of the gradients' grid from 0 to the clip.
GRADIENT_STEPS = 65536.0
#: How often each row joins a step is a multiple of this.
RATE_UNIT = 2.0**-32

Tell = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Recipe:
    """How to train. `epsilon` None: without DP. `batch` rows are expected in a step, an epoch is rows / batch steps."""

    epsilon: float | None
    delta: float
    hidden: int = 0
    epochs: int = 20
    batch: int = 1024
    learning_rate: float = 0.5
    gradient_clip: float = 1.0
    projected: int = 0
    input_noise: InputNoise | None = None


@dataclass(frozen=True, slots=True)
class TrainedHead:
    """Weights by name (`heads.network.weights_of`), how they came about, and the epsilon that Opacus' PRV accounts."""

    shape: HeadShape
    weights: dict[str, FloatRows]
    training: Training
    epsilon: float | None


def train_head(
    features: FloatRows, labels: NDArray[np.int64], classes: int, recipe: Recipe, tell: Tell = lambda done, whole: None
) -> TrainedHead:
    """Train on `features` float32 [N, D] and `labels` int64 [N], below `classes`; `tell(done, whole)` counts steps.

    Neighbours are data sets that differ by one row, there or not; N counts as public.
    Raises MechanismError where nothing can be trained, or no noise gives the epsilon.
    """
    _check(features, labels, classes, recipe)
    plan = _plan(len(features), recipe)
    shape = HeadShape(features.shape[1], classes, recipe.hidden, recipe.projected)
    network = _fit(features, labels, shape, recipe, plan, tell)
    return TrainedHead(shape, weights_of(network), plan, spent_epsilon(plan, recipe.delta))


def spent_epsilon(training: Training, delta: float) -> float | None:
    """What the training spent by Opacus' PRV accountant (its upper end); None without noise."""
    if not training.noise_multiplier:
        return None
    from opacus.accountants import PRVAccountant

    accountant = PRVAccountant()
    accountant.history = [(training.noise_multiplier, training.sample_rate, training.steps)]
    with _quiet():
        return float(accountant.get_epsilon(delta))


def _check(features: FloatRows, labels: NDArray[np.int64], classes: int, recipe: Recipe) -> None:
    if features.ndim != 2 or len(features) != len(labels) or len(features) < 2 or classes < 2:
        raise MechanismError("training needs at least two rows of features with a label each, and two classes")
    if labels.min() < 0 or labels.max() >= classes or not np.isfinite(features).all():
        raise MechanismError("the labels must be below the number of classes, and the features finite")
    if recipe.epsilon is not None and not (0 < recipe.epsilon < math.inf and 0 < recipe.delta < 1):
        raise MechanismError("epsilon must be above 0, and delta above 0 and below 1")
    if recipe.epsilon is not None and recipe.delta * len(features) > 1:
        raise MechanismError(f"delta must be below 1 / rows, here {1 / len(features):.1e}; else it promises nothing")


def _plan(rows: int, recipe: Recipe) -> Training:
    """Sample rate, steps, and the least noise that keeps to epsilon."""
    rate = max(RATE_UNIT, math.floor(min(recipe.batch / rows, 1.0) / RATE_UNIT) * RATE_UNIT)
    steps = max(1, round(recipe.epochs / rate))
    if recipe.epsilon is None:
        return Training(rows, steps, rate, recipe.gradient_clip, 0.0)
    from opacus.accountants.utils import get_noise_multiplier

    try:
        with _quiet():
            noise = get_noise_multiplier(
                target_epsilon=recipe.epsilon,
                target_delta=recipe.delta,
                sample_rate=rate,
                steps=steps,
                accountant="prv",
            )
    except ValueError:
        raise MechanismError("no noise gives this epsilon; allow more of it, or train for fewer epochs") from None
    return Training(rows, steps, rate, recipe.gradient_clip, float(noise))


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the accountant's warnings: an order was the last of its grid, or every row joins and it takes log 0."""
    with warnings.catch_warnings(), np.errstate(divide="ignore"):
        warnings.simplefilter("ignore", UserWarning)
        yield


def _fit(
    features: FloatRows, labels: NDArray[np.int64], shape: HeadShape, recipe: Recipe, plan: Training, tell: Tell
) -> "torch.nn.Module":
    import torch

    network = make_network(shape, recipe.input_noise)
    optimizer = _optimizer(network, recipe)
    gradients = _PrivateGradients(network, plan) if plan.noise_multiplier else _PlainGradients(network, plan)
    x, y = torch.from_numpy(features), torch.from_numpy(labels)
    for done, chosen in enumerate(_batches(plan), 1):
        picked = torch.from_numpy(chosen)
        gradients.put(x[picked], y[picked])
        optimizer.step()
        tell(done, plan.steps)
    return network.eval()


def _optimizer(network: "torch.nn.Module", recipe: Recipe) -> "torch.optim.Optimizer":
    """SGD with momentum; Adam where inputs are noised, for then gradients vary in size by orders of magnitude."""
    import torch

    if recipe.input_noise is None:
        return torch.optim.SGD(network.parameters(), lr=recipe.learning_rate, momentum=0.9)
    return torch.optim.Adam(network.parameters(), lr=recipe.learning_rate)


def _batches(plan: Training) -> Iterator[NDArray[np.int64]]:
    """The rows of each step: every row joins on its own, by the operating system's randomness."""
    threshold = round(plan.sample_rate / RATE_UNIT)
    for _ in range(plan.steps):
        words = np.frombuffer(os.urandom(4 * plan.rows), np.uint32)
        yield np.flatnonzero(words.astype(np.int64) < threshold)


class _PlainGradients:
    """The mean gradient of a batch, as anywhere."""

    def __init__(self, network: "torch.nn.Module", plan: Training) -> None:
        self._network = network

    def put(self, rows: "torch.Tensor", labels: "torch.Tensor") -> None:
        """Set the gradients of the network's parameters."""
        import torch

        self._network.zero_grad()
        if len(rows):
            torch.nn.functional.cross_entropy(self._network(rows), labels).backward()  # type: ignore[no-untyped-call]


class _PrivateGradients:
    """The noised sum of clipped per-row gradients, over the expected number of rows: one step of DP-SGD."""

    def __init__(self, network: "torch.nn.Module", plan: Training) -> None:
        from opacus import GradSampleModule

        self._wrapped = GradSampleModule(network, loss_reduction="sum")
        self._parameters: list[Any] = list(network.parameters())
        self._plan = plan
        count = sum(parameter.numel() for parameter in self._parameters)
        # Adding or removing a row changes the integer sum by one gridded gradient.
        self._scale = plan.noise_multiplier * vector_radius(GRADIENT_STEPS, count)

    def put(self, rows: "torch.Tensor", labels: "torch.Tensor") -> None:
        """Set the gradients of the network's parameters."""
        total = self._sum(rows, labels)
        noised = total + exact.gaussian_noise(self._scale, len(total))
        expected = self._plan.rows * self._plan.sample_rate
        self._spread(noised * (self._plan.gradient_clip / GRADIENT_STEPS / expected))

    def _sum(self, rows: "torch.Tensor", labels: "torch.Tensor") -> NDArray[np.int64]:
        import torch

        if not len(rows):
            return np.zeros(sum(parameter.numel() for parameter in self._parameters), np.int64)
        self._wrapped.zero_grad()
        # Opacus' hooks want inputs that ask for a gradient.
        logits = self._wrapped(rows.clone().requires_grad_())
        torch.nn.functional.cross_entropy(logits, labels, reduction="sum").backward()  # type: ignore[no-untyped-call]
        each = torch.cat([parameter.grad_sample.flatten(1) for parameter in self._parameters], dim=1)
        total: NDArray[np.int64] = grid_vectors(each.numpy(), self._plan.gradient_clip, GRADIENT_STEPS).sum(axis=0)
        return total

    def _spread(self, flat: NDArray[np.floating]) -> None:
        import torch

        begin = 0
        for parameter in self._parameters:
            part = flat[begin : begin + parameter.numel()].astype(np.float32)
            parameter.grad = torch.from_numpy(part).view_as(parameter)
            begin += parameter.numel()
