"""How right a classifier stays under each mechanism: accuracy against epsilon on texts with labels.

Knows vectors and labels; the mechanisms are `privacy`'s, as the server and its clients use them.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hetero.batch import FloatArray
from hetero.bench.inversion import Inversion, measure_inversion
from hetero.head_training import Rows, indices, make_card, with_local_noise
from hetero.heads import Head
from privacy.heads.training import Recipe, train_head
from privacy.mechanisms import ExponentialLabels, GaussianVectors, RandomisedResponse
from privacy.mechanisms.vectors import noise_multiplier_for

#: Releases of the whole test set, or trainings, that are averaged.
REPEATS = 3
#: The bound of logits: small enough that most texts' reach it, for what lies within is drawn more often wrongly. This
#: and the other settings were chosen on SST-2's development set, never on the test set that is reported.
CLIP = 0.25
#: Numbers that clients send in the projected variant of local DP.
PROJECTED = 2
Labels = NDArray[np.int64]
Tell = Callable[[int, int, str], None]


@dataclass(frozen=True, slots=True)
class Accuracy:
    """The mean over repeats; `epsilon` None: without protection."""

    mechanism: str
    epsilon: float | None
    accuracy: float


@dataclass(frozen=True, slots=True)
class Split:
    """Texts with labels, and the model's vectors of them, float32 [N, D]."""

    rows: Rows
    vectors: FloatArray


class AccuracyTrial:
    """Trains on one split and tests on the other, at several epsilons and one delta."""

    def __init__(self, model: str, train: Split, test: Split, delta: float = 1e-6) -> None:
        self._model, self._train, self._test, self._delta = model, train, test, delta
        self._names = tuple(sorted(set(train.rows.labels)))
        self._wanted = indices(test.rows.labels, self._names)

    def run(self, epsilons: tuple[float, ...], tell: Tell) -> Iterator[Accuracy]:
        """One line a mechanism and epsilon, the unprotected head first."""
        tell(0, 0, "without protection")
        plain = self._head(Recipe(None, self._delta, epochs=100, learning_rate=0.2))
        logits = plain.scores(self._test.vectors)
        yield Accuracy("none", None, self._share(logits.argmax(axis=1)))
        for epsilon in epsilons:
            for name, measure in self._measures(epsilon, logits).items():
                tell(0, 0, f"{name}, epsilon {epsilon:g}")
                yield Accuracy(name, epsilon, float(np.mean([measure() for _ in range(REPEATS)])))

    def inversion(self, epsilons: tuple[float, ...]) -> list[Inversion]:
        """How often a word of the text is told from its vector, by local DP and clean; none without usual words."""
        return measure_inversion(
            (self._train.rows.texts, self._train.vectors), (self._test.rows.texts, self._test.vectors), epsilons
        )

    def _measures(self, epsilon: float, logits: FloatArray) -> dict[str, Callable[[], float]]:
        response = RandomisedResponse(epsilon, len(self._names))
        exponential = ExponentialLabels(CLIP, 4 * CLIP / epsilon)
        return {
            "randomised response": lambda: self._share(response.release(logits)),
            "exponential mechanism": lambda: self._share(exponential.release(logits)),
            "local DP, whole vector": lambda: self._local(epsilon, 0),
            f"local DP, {PROJECTED} numbers": lambda: self._local(epsilon, PROJECTED),
            "DP-SGD head": lambda: self._private_training(epsilon),
        }

    def _local(self, epsilon: float, projected: int) -> float:
        recipe = Recipe(None, self._delta, epochs=60, learning_rate=0.01, projected=projected)
        recipe = with_local_noise(recipe, (epsilon, self._delta), self._train.vectors.shape[1])
        head = self._head(recipe)
        mechanism = GaussianVectors(1.0, noise_multiplier_for(epsilon, self._delta))
        received = mechanism.release(head.project(self._test.vectors)).astype(np.float32)
        return self._share(head.scores(received).argmax(axis=1))

    def _private_training(self, epsilon: float) -> float:
        head = self._head(Recipe(epsilon, self._delta, epochs=20, learning_rate=1.0))
        return self._share(head.scores(self._test.vectors).argmax(axis=1))

    def _head(self, recipe: Recipe) -> Head:
        labels = indices(self._train.rows.labels, self._names)
        trained = train_head(self._train.vectors, labels, len(self._names), recipe)
        return Head(make_card(self._model, self._names, trained, recipe), trained.weights)

    def _share(self, found: Labels) -> float:
        return float((found == self._wanted).mean())
