"""Encrypted linear layers against numpy: many vectors, extremes among them, for every shape that is served."""

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from privacy.errors import EncryptionError
from privacy.he.client import Sealer
from privacy.he.keys import SecretKeys
from privacy.he.planning import describe
from privacy.he.samples import sample_vectors
from privacy.he.spec import linear_spec

Floats = NDArray[np.float64]
#: [rows, columns] and how many vectors. `hetero bench he --vectors 1000` takes a thousand of each.
SHAPES = [
    (2, 384, 1000),
    (10, 384, 200),
    (384, 384, 60),
    (768, 768, 12),
    (1536, 384, 12),
    (384, 1536, 12),
    (4000, 64, 8),
    (1, 1, 40),
    (3, 7, 200),
]


def random_layer(rows: int, columns: int) -> tuple[Floats, Floats]:
    generator = np.random.default_rng(rows + columns)
    return generator.normal(0, columns**-0.5, (rows, columns)), generator.normal(size=rows)


@pytest.mark.parametrize(("rows", "columns", "count"), SHAPES)
def test_results_equal_those_of_numpy(
    rows: int, columns: int, count: int, through_ciphertexts: Callable[..., Floats]
) -> None:
    weight, bias = random_layer(rows, columns)
    spec = linear_spec("layer", weight, bias)
    vectors = sample_vectors(count, columns, describe(spec).norm_bound)
    assert abs(through_ciphertexts(spec, vectors) - (vectors @ weight.T + bias)).max() < 1e-4


def test_the_192_bit_set_is_as_exact(through_ciphertexts: Callable[..., Floats]) -> None:
    weight, bias = random_layer(64, 96)
    spec = linear_spec("layer", weight, bias, parameters="ckks-8192-1-s192")
    vectors = sample_vectors(12, 96, describe(spec).norm_bound)
    assert abs(through_ciphertexts(spec, vectors) - (vectors @ weight.T + bias)).max() < 1e-4


@pytest.mark.parametrize("zeros", ["rows", "everything", "diagonal"])
def test_zeros_in_weights_are_computed(zeros: str, through_ciphertexts: Callable[..., Floats]) -> None:
    weight, bias = random_layer(16, 32)
    weight *= {"rows": np.arange(16)[:, None] % 2, "everything": 0, "diagonal": np.eye(16, 32)}[zeros]
    vectors = sample_vectors(4, 32, 100.0)
    got = through_ciphertexts(linear_spec("layer", weight, bias), vectors)
    assert abs(got - (vectors @ weight.T + bias)).max() < 1e-4


def test_ciphertexts_of_equal_vectors_differ(keys_of: Callable[[str], SecretKeys]) -> None:
    sealer = Sealer(describe(linear_spec("layer", np.ones((2, 8)))), keys_of("ckks-8192-1"))
    first, second = sealer.seal(np.ones((1, 8))), sealer.seal(np.ones((1, 8)))
    assert first != second


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf"), 1e300, 5000.0])
def test_what_could_leave_the_range_is_refused_on_the_client(
    value: float, keys_of: Callable[[str], SecretKeys]
) -> None:
    sealer = Sealer(describe(linear_spec("layer", np.ones((2, 8)))), keys_of("ckks-8192-1"))
    vector = np.zeros((1, 8))
    vector[0, 3] = value
    with pytest.raises(EncryptionError, match="nothing was sent"):
        sealer.seal(vector)


@pytest.mark.parametrize("weight", [2.0**15, 1e4, 1.0, 1e-6])
def test_the_norm_bound_is_safe_and_used_to_its_end(weight: float, through_ciphertexts: Callable[..., Floats]) -> None:
    """The longest vector that is let through still comes back right, whatever the weights' size."""
    matrix = np.full((2, 16), weight)
    spec = linear_spec("layer", matrix)
    vector = np.full((1, 16), describe(spec).norm_bound / 4)
    wanted = vector @ matrix.T
    np.testing.assert_allclose(through_ciphertexts(spec, vector), wanted, rtol=1e-6, atol=1e-4)


def test_weights_that_leave_no_range_are_refused() -> None:
    with pytest.raises(EncryptionError, match="leave the plain range"):
        describe(linear_spec("layer", np.full((1, 4), 1e9)))


@pytest.mark.parametrize("weight", [np.zeros(3), np.zeros((0, 3)), np.full((2, 2), np.nan)])
def test_what_is_no_matrix_of_finite_numbers_is_refused(weight: Floats) -> None:
    with pytest.raises(EncryptionError):
        linear_spec("layer", weight)
