"""Small heads with parabolas between their layers: encrypted against in the clear, and the parabolas themselves."""

from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest
from numpy.typing import NDArray

from privacy.errors import EncryptionError
from privacy.he.activation import SQUARE, Quadratic, activation_named, fold_after, fold_before
from privacy.he.planning import describe
from privacy.he.samples import sample_vectors
from privacy.he.spec import head_spec

Floats = NDArray[np.float64]


def layers(*widths: int) -> list[tuple[Floats, Floats]]:
    generator = np.random.default_rng(sum(widths))
    return [(generator.normal(0, a**-0.5, (b, a)), generator.normal(0, 0.3, b)) for a, b in pairwise(widths)]


@pytest.mark.parametrize(
    ("widths", "parameters"),
    [((384, 32, 2), None), ((384, 64, 10), "ckks-8192-3"), ((48, 16, 16), "ckks-16384-3"), ((24, 16, 8, 3), None)],
)
def test_heads_equal_their_arithmetic_in_the_clear(
    widths: tuple[int, ...], parameters: str | None, through_ciphertexts: Callable[..., Floats]
) -> None:
    activations = [activation_named(name) for name in ("gelu", "square")[: len(widths) - 2]]
    spec = head_spec("head", layers(*widths), activations, parameters=parameters)
    vectors = sample_vectors(8, widths[0], min(describe(spec).norm_bound, 4.0))
    assert abs(through_ciphertexts(spec, vectors) - spec.in_the_clear(vectors)).max() < 1e-4


def test_the_longest_allowed_vector_comes_back_right(through_ciphertexts: Callable[..., Floats]) -> None:
    spec = head_spec("head", layers(64, 16, 2), [SQUARE])
    vectors = sample_vectors(6, 64, describe(spec).norm_bound)
    wanted = spec.in_the_clear(vectors)
    np.testing.assert_allclose(through_ciphertexts(spec, vectors), wanted, rtol=1e-5, atol=1e-4)


def test_an_activation_is_folded_into_its_neighbours() -> None:
    activation = Quadratic(0.3, -0.7, -0.2)
    (first, bias), (second, after) = layers(9, 5, 3)
    vectors = np.random.default_rng(0).normal(size=(20, 9))
    weight, shifted = fold_before(activation, first, bias)
    last, added = fold_after(activation, second, after)
    wanted = activation(vectors @ first.T + bias) @ second.T + after
    np.testing.assert_allclose((vectors @ weight.T + shifted) ** 2 @ last.T + added, wanted, atol=1e-12)


def test_parabolas_are_near_what_they_stand_for() -> None:
    points = np.linspace(-4, 4, 101)
    assert abs(activation_named("relu")(points) - np.maximum(points, 0)).max() < 0.4
    assert abs(activation_named("silu")(points) - points / (1 + np.exp(-points))).max() < 0.4


@pytest.mark.parametrize("name", ["tanh", "sigmoid", "", "relu6"])
def test_other_activations_are_refused(name: str) -> None:
    with pytest.raises(EncryptionError, match="knows the activations"):
        activation_named(name)


def test_heads_that_do_not_fit_are_refused() -> None:
    good = layers(8, 4, 2)
    with pytest.raises(EncryptionError, match="one activation between"):
        head_spec("head", good, [])
    with pytest.raises(EncryptionError, match="as many numbers as"):
        head_spec("head", [good[0], good[0]], [SQUARE])
    with pytest.raises(EncryptionError, match="needs depth 3"):
        head_spec("head", good, [SQUARE], parameters="ckks-8192-1")
    with pytest.raises(EncryptionError, match="2 rows and 3 labels"):
        head_spec("head", good, [SQUARE], labels=["a", "b", "c"])
