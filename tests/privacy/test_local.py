"""Local DP: what leaves the client is noise around the vector, and tokens cannot be read from it."""

from pathlib import Path

import numpy as np
import pytest

from privacy.errors import MechanismError
from privacy.ledger.accounting import rho_of_epsilon_delta
from privacy.local import check_arrived, protect_vectors, vector_mechanism
from privacy.types import MechanismSpec

EPSILON, DELTA = 8.0, 1e-6
SPEC = MechanismSpec("discrete-gaussian", (("clip", 1.0), ("epsilon", EPSILON), ("delta", DELTA)))
VECTORS = np.random.default_rng(0).normal(size=(8, 384)).astype(np.float32)


def test_protected_vectors_cost_a_row_each_and_differ_each_time() -> None:
    once, again = protect_vectors(VECTORS, SPEC), protect_vectors(VECTORS, SPEC)
    assert once.charge.rho == pytest.approx(8 * rho_of_epsilon_delta(EPSILON, DELTA))
    assert once.charge.event.count == 8
    assert (once.rows != again.rows).mean() > 0.999


def test_protected_vectors_are_accepted_on_arrival() -> None:
    check_arrived(protect_vectors(VECTORS, SPEC).rows, SPEC, 384)
    strong = MechanismSpec("discrete-gaussian", (("clip", 1.0), ("rho", 1e-6)))
    check_arrived(protect_vectors(VECTORS, strong).rows, strong, 384)


def test_clean_vectors_are_refused_on_arrival() -> None:
    clean = VECTORS / np.linalg.norm(VECTORS, axis=1, keepdims=True)
    with pytest.raises(MechanismError, match="not on the mechanism's grid"):
        check_arrived(clean, SPEC, 384)
    on_grid = np.round(clean * 16384) / 16384
    with pytest.raises(MechanismError, match="shorter than noise"):
        check_arrived(on_grid, SPEC, 384)
    one_clean = np.concatenate([protect_vectors(VECTORS, SPEC).rows, on_grid[:1]])
    with pytest.raises(MechanismError, match="shorter than noise"):
        check_arrived(one_clean, SPEC, 384)


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        (np.zeros((0, 384)), "shape"),
        (np.zeros((2, 383)), "shape"),
        (np.full((2, 384), np.nan), "not finite"),
        (np.full((2, 384), np.inf), "not finite"),
    ],
)
def test_arrivals_of_another_form_are_refused(rows: np.ndarray, says: str) -> None:
    with pytest.raises(MechanismError, match=says):
        check_arrived(rows, SPEC, 384)


def test_only_vector_mechanisms_are_for_vectors() -> None:
    with pytest.raises(MechanismError, match="does not noise vectors"):
        vector_mechanism(MechanismSpec("exponential", (("clip", 1.0), ("temperature", 1.0))))


def test_tokens_cannot_be_told_from_noised_embeddings(stories260k: Path) -> None:
    """Texts of 128 tokens, each text (8, 1e-6)-DP as a whole; the attacker knows the table and takes the nearest row.

    Without noise the attack finds every token; with it at most twice as many as guessing.
    """
    table = unit_rows(token_table(stories260k))
    tokens_a_text, texts = 128, 80
    tokens = np.random.default_rng(1).integers(0, len(table), tokens_a_text * texts)
    assert len(table) > 200 and (nearest(table, table[tokens]) == tokens).all()
    rho = rho_of_epsilon_delta(EPSILON, DELTA) / tokens_a_text
    noised = protect_vectors(table[tokens], MechanismSpec("discrete-gaussian", (("clip", 1.0), ("rho", rho)))).rows
    assert (nearest(table, noised) == tokens).mean() <= 2 / len(table)


def token_table(folder: Path) -> np.ndarray:
    from safetensors.numpy import load_file

    return load_file(folder / "model.safetensors")["model.embed_tokens.weight"].astype(np.float32)


def unit_rows(table: np.ndarray) -> np.ndarray:
    """Rows of length 1 that differ: ids of a small vocabulary that were never trained share nearly one row."""
    rows = table / np.linalg.norm(table, axis=1, keepdims=True)
    kept: list[np.ndarray] = []
    for row in rows:
        if not kept or (np.array(kept) @ row).max() < 0.99:
            kept.append(row)
    return np.array(kept)


def nearest(table: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Rows of equal length: the nearest is the one of the largest product, the likeliest under Gaussian noise."""
    return (rows @ table.T).argmax(axis=1)
