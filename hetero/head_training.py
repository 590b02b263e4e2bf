"""From texts with labels to a head in a folder: vectors by a runtime, training by `privacy.heads`, then the card."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from hetero.batch import FloatArray
from hetero.encoding import MAX_TEXTS
from hetero.errors import InvalidRequestError
from hetero.heads import Head, backbone_fingerprint, save_head
from hetero.models.source import resolve
from hetero.runtime import Runtime
from privacy.errors import MechanismError
from privacy.heads.card import HeadCard
from privacy.heads.network import InputNoise
from privacy.heads.training import Recipe, TrainedHead, train_head
from privacy.mechanisms import GaussianVectors
from privacy.mechanisms.vectors import noise_multiplier_for
from privacy.types import Guarantee

#: So many of so many, and of what.
Tell = Callable[[int, int, str], None]
#: Texts a call, so that progress shows.
TEXTS_A_CALL = min(256, MAX_TEXTS)


@dataclass(frozen=True, slots=True)
class Rows:
    """Texts and their labels."""

    texts: tuple[str, ...]
    labels: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class HeadJob:
    """What to train on, where the head goes, how, and public rows to test it on."""

    rows: Rows
    output: Path
    recipe: Recipe
    checked: Rows | None = None
    #: Epsilon and delta of the noise that clients will put on the head's inputs.
    local: tuple[float, float] | None = None


def read_rows(file: Path) -> Rows:
    """The rows of a TSV file: text, tab, label. Raises InvalidRequestError where a line is not, without citing it."""
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        raise InvalidRequestError(f"{file} cannot be read as UTF-8 text; give a TSV file of texts and labels") from None
    pairs = [line.split("\t") for line in lines if line.strip()]
    for number, pair in enumerate(pairs, 1):
        if len(pair) != 2 or not pair[0].strip() or not pair[1].strip():
            raise InvalidRequestError(f"row {number} of {file} is not a text, a tab and a label")
    if not pairs:
        raise InvalidRequestError(f"{file} holds no rows; give texts and labels")
    return Rows(tuple(text for text, _ in pairs), tuple(label.strip() for _, label in pairs))


def train(runtime: Runtime, job: HeadJob, tell: Tell) -> tuple[HeadCard, float | None]:
    """Train, write the folder, and give the card, with the accuracy on the public rows where there are any.

    Nothing about the training rows but the head itself is given out: no loss and no accuracy on them.
    Raises InvalidRequestError for rows or a recipe that cannot be trained with, ModelError for the folder.
    """
    names = tuple(sorted(set(job.rows.labels)))
    features = embed_all(runtime, job.rows.texts, tell)
    try:
        recipe = with_local_noise(job.recipe, job.local, features.shape[1])
        trained = train_head(
            features, indices(job.rows.labels, names), len(names), recipe, lambda n, of: tell(n, of, "training")
        )
    except MechanismError as error:
        raise InvalidRequestError(str(error)) from None
    card = make_card(runtime.model, names, trained, recipe)
    save_head(job.output, card, trained.weights)
    head = Head(card, trained.weights)
    return card, accuracy(head, embed_all(runtime, job.checked.texts, tell), job.checked) if job.checked else None


def with_local_noise(recipe: Recipe, local: tuple[float, float] | None, width: int) -> Recipe:
    """The recipe with the noise that local DP of `local` (epsilon, delta) puts on inputs clipped to 1."""
    if local is None:
        return recipe
    mechanism = GaussianVectors(1.0, noise_multiplier_for(*local))
    deviation = mechanism.scale_steps(recipe.projected or width) * mechanism.grid
    return replace(recipe, input_noise=InputNoise(mechanism.clip, deviation))


def embed_all(runtime: Runtime, texts: Sequence[str], tell: Tell) -> FloatArray:
    """The model's vectors of all texts, float32 [N, D]."""
    parts = []
    for begin in range(0, len(texts), TEXTS_A_CALL):
        tell(begin, len(texts), "vectors")
        parts.append(runtime.embed(texts[begin : begin + TEXTS_A_CALL]))
    return np.concatenate(parts)


def indices(labels: Sequence[str], names: Sequence[str]) -> np.ndarray[tuple[int, ...], np.dtype[np.int64]]:
    """Each label's place among `names`, int64 [N]. Raises InvalidRequestError for a label that is none of them."""
    places = {name: place for place, name in enumerate(names)}
    if not set(labels) <= set(places):
        raise InvalidRequestError(f"a label is none of the head's: {', '.join(names)}")
    return np.array([places[label] for label in labels], np.int64)


def accuracy(head: Head, vectors: FloatArray, rows: Rows) -> float:
    """The share of rows whose likeliest class is their label."""
    return float((head.scores(vectors).argmax(axis=1) == indices(rows.labels, head.labels)).mean())


def make_card(model: str, labels: tuple[str, ...], trained: TrainedHead, recipe: Recipe) -> HeadCard:
    """The card of a head for `model`. Raises ModelError where the model's folder cannot be found."""
    folder = resolve(model)
    name = model if not Path(model).is_dir() else folder.name
    promise = None if trained.epsilon is None else guarantee(trained.epsilon, recipe.delta)
    return HeadCard(
        name, backbone_fingerprint(folder), labels, trained.shape, trained.training, promise, recipe.input_noise
    )


def guarantee(epsilon: float, delta: float) -> Guarantee:
    """What DP-SGD promises of the training rows."""
    return Guarantee(
        unit="training row",
        adjacency="add-or-remove-one",
        observer="whoever has the head or its answers",
        lifetime="this training run",
        epsilon=epsilon,
        delta=delta,
        accountant="PRV (Opacus), Poisson-sampled Gaussian",
    )
