"""No pair of inputs lies farther apart than declared: a search over 10^5 pairs, with everything that floats can be."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from privacy.errors import MechanismError
from privacy.mechanisms import BoundedTokens, DocumentTokens, ExponentialLabels, GaussianVectors, RandomisedResponse
from privacy.mechanisms.grids import LOGIT_STEPS, bound_differences, bound_logits

PAIRS = 100_000
SPECIAL = np.array([np.nan, np.inf, -np.inf, 0.0, -0.0, 5e-324, -5e-324, 1e308, -1e308, 1.0, -1.0])


def nasty_rows(random: np.random.Generator, count: int, width: int) -> np.ndarray:
    """Rows of normal numbers at scales from 1e-300 to 1e300, a third with special values, some of nothing else."""
    rows = random.normal(size=(count, width)) * 10.0 ** random.integers(-300, 300, (count, 1))
    rows[: count // 2] = random.normal(size=(count // 2, width)) * random.choice([0.1, 1, 10], (count // 2, 1))
    spoiled = random.random((count, width)) < random.choice([0, 0, 0.3, 1], (count, 1))
    return np.where(spoiled, random.choice(SPECIAL, (count, width)), rows)


@pytest.mark.parametrize("grid", [0.5, 1 / 3, 2**-14])
@pytest.mark.parametrize("width", [1, 7, 64])
def test_vectors_never_lie_farther_apart_than_declared(width: int, grid: float) -> None:
    mechanism = GaussianVectors(1.0, 1.0, grid)
    rows = mechanism.gridded(nasty_rows(np.random.default_rng(width), PAIRS, width))
    others = mechanism.gridded(-rows * 0.999 if width == 7 else nasty_rows(np.random.default_rng(9), PAIRS, width))
    distances = np.sqrt(np.square(rows - others).sum(axis=1))
    assert distances.max() <= mechanism.sensitivity_steps(width)
    # The worst pairs come close to what is declared, so the bound is not vacuous.
    opposite = np.sqrt(np.square(2 * rows).sum(axis=1)).max()
    assert 0.5 * mechanism.sensitivity_steps(width) <= opposite <= mechanism.sensitivity_steps(width)


@pytest.mark.parametrize("clip", [0.3, 2.0, 1e6])
def test_bounded_logits_never_differ_more_than_declared(clip: float) -> None:
    random = np.random.default_rng(1)
    first = bound_logits(nasty_rows(random, PAIRS, 12), clip)
    second = bound_logits(nasty_rows(random, PAIRS, 12), clip)
    assert np.abs(first - second).max() == 2 * LOGIT_STEPS
    assert (first.max(axis=1) == LOGIT_STEPS).all()


def test_differences_of_documents_never_exceed_their_clip() -> None:
    random = np.random.default_rng(2)
    steps = bound_differences(nasty_rows(random, PAIRS, 12), nasty_rows(random, 1, 12)[0], 0.7)
    assert np.abs(steps).max() == LOGIT_STEPS


@settings(max_examples=300, deadline=None)
@given(
    arrays(np.float64, (4, 6), elements=st.floats(width=64)),
    arrays(np.float64, 6, elements=st.floats(width=64)),
    arrays(np.float64, 6, elements=st.floats(width=64)),
)
def test_replacing_a_document_moves_scores_no_more_than_declared(
    documents: np.ndarray, replacement: np.ndarray, public: np.ndarray
) -> None:
    mechanism = DocumentTokens(clip=1.5, temperature=1.0, documents=4, top_k=3)
    replaced = documents.copy()
    replaced[2] = replacement
    ids, first = mechanism.scores(public, documents)
    same_ids, second = mechanism.scores(public, replaced)
    assert ids.tolist() == same_ids.tolist() and len(ids) >= 1
    assert np.abs(first - second).max() <= 2 * LOGIT_STEPS
    assert abs(mechanism.choose(first)) < len(ids)


@settings(max_examples=300, deadline=None)
@given(arrays(np.float64, st.tuples(st.just(2), st.integers(1, 40)), elements=st.floats(width=64)))
def test_every_vector_stays_within_its_ball_whatever_it_holds(vectors: np.ndarray) -> None:
    mechanism = GaussianVectors(2.0, 1.0)
    clean = mechanism.gridded(vectors)
    assert np.sqrt(np.square(clean).sum(axis=1)).max() <= mechanism.sensitivity_steps(vectors.shape[1]) / 2


@pytest.mark.parametrize("value", SPECIAL.tolist())
def test_release_gives_finite_numbers_whatever_the_vector_holds(value: float) -> None:
    released = GaussianVectors(2.0, 1.0).release(np.array([[value, 1.0, value], [value] * 3]))
    assert released.dtype == np.float32 and np.isfinite(released).all()


def test_clean_vectors_keep_their_direction_and_zero_stays_zero() -> None:
    mechanism = GaussianVectors(1.0, 1.0)
    vectors = np.random.default_rng(0).normal(size=(5, 384))
    units = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    assert np.abs(mechanism.gridded(vectors) * mechanism.grid - units).max() <= mechanism.grid
    short = 0.25 * units
    assert np.abs(mechanism.gridded(short) * mechanism.grid - short).max() <= mechanism.grid
    assert (mechanism.gridded(np.zeros((1, 384))) == 0).all()


@pytest.mark.parametrize("value", SPECIAL.tolist())
def test_labels_and_tokens_are_drawn_whatever_the_logits_hold(value: float) -> None:
    row = np.array([value, 1.0, np.nan, value])
    assert 0 <= BoundedTokens(1.0, 1.0).sample(row) < 4
    assert 0 <= BoundedTokens(1.0, 1.0).sample(np.full(4, value)) < 4
    assert 0 <= ExponentialLabels(1.0, 1.0).release(row[None])[0] < 4
    assert 0 <= RandomisedResponse(1.0, 4).release(row[None])[0] < 4


@pytest.mark.parametrize("shape", [(4,), (2, 3, 4), (2, 0)])
def test_shapes_that_are_no_rows_are_refused(shape: tuple[int, ...]) -> None:
    wrong = np.zeros(shape)
    for release in (GaussianVectors(1.0, 1.0).release, RandomisedResponse(1.0, 4).release):
        with pytest.raises(MechanismError, match="shape"):
            release(wrong)
    with pytest.raises(MechanismError, match="shape"):
        BoundedTokens(1.0, 1.0).sample(np.zeros((2, 2)))


def test_more_documents_than_declared_are_refused() -> None:
    with pytest.raises(MechanismError, match="more than 2 documents"):
        DocumentTokens(1.0, 1.0, 2).sample(np.zeros(4), np.zeros((3, 4)))
