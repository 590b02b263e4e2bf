"""Layouts, in plain numpy: what rotations and products of the slots come to, for any matrix."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from privacy.errors import EncryptionError
from privacy.he.choosing import Steps, choose, with_baby_steps
from privacy.he.packing import Floats, Packing, following, layouts

SLOTS = 256


def applied(packing: Packing, weight: Floats, slots: Floats) -> list[Floats]:
    """What `linear.py` does to ciphertexts, done to slots."""
    answers = []
    for group in range(packing.answers):
        turned = [np.roll(slots, -t) for t in range(packing.share)]
        total = np.sum(packing.diagonals(weight, group) * turned, axis=0)
        for fold in packing.folds:
            total = total + np.roll(total, -fold)
        answers.append(total)
    return answers


@settings(max_examples=150, deadline=None)
@given(rows=st.integers(1, 300), columns=st.integers(1, 128), seed=st.integers(0, 2**32 - 1))
def test_every_layout_gives_the_product(rows: int, columns: int, seed: int) -> None:
    generator = np.random.default_rng(seed)
    weight = generator.normal(size=(rows, columns))
    for packing in layouts(rows, columns, SLOTS):
        vectors = generator.normal(size=(generator.integers(1, packing.vectors + 1), columns))
        answers = applied(packing, weight, packing.pack(vectors))
        np.testing.assert_allclose(packing.unpack(answers, len(vectors)), vectors @ weight.T, atol=1e-9)


@settings(max_examples=100, deadline=None)
@given(rows=st.integers(1, 64), columns=st.integers(1, 128), seed=st.integers(0, 2**32 - 1))
def test_no_slot_of_an_answer_tells_a_part_of_a_row(rows: int, columns: int, seed: int) -> None:
    """Whatever slots a tenant sends: there are no more different answers than rows and lanes, so none is a part."""
    generator = np.random.default_rng(seed)
    weight, slots = generator.normal(size=(rows, columns)), generator.normal(size=SLOTS)
    for packing in layouts(rows, columns, SLOTS):
        for answer in applied(packing, weight, slots):
            found = {round(float(value), 6) for value in answer} - {0.0}
            assert len(found) <= packing.vectors * packing.rows_each


@settings(max_examples=60, deadline=None)
@given(hidden=st.integers(2, 64), rows=st.integers(1, 16), seed=st.integers(0, 2**32 - 1))
def test_a_layer_takes_the_answer_of_the_one_before(hidden: int, rows: int, seed: int) -> None:
    rows = min(rows, hidden)
    generator = np.random.default_rng(seed)
    first, second = generator.normal(size=(hidden, 40)), generator.normal(size=(rows, hidden))
    for before in layouts(hidden, 40, SLOTS):
        alone = Packing(**{**vars(before), "lane": before.period})
        if alone.answers > 1:
            continue
        vector = generator.normal(size=(1, 40))
        (middle,) = applied(alone, first, alone.pack(vector))
        after = following(alone, rows)
        padded = np.pad(second, ((0, 0), (0, after.columns - hidden)))
        result = after.unpack(applied(after, padded, middle), 1)
        np.testing.assert_allclose(result, vector @ first.T @ second.T, atol=1e-8)


def test_baby_and_giant_steps_need_the_keys_they_name() -> None:
    steps = Steps(Packing(SLOTS, 8, 24, 4, 6, 64, 13, 8), 4)
    assert steps.giant == 2
    assert steps.rotations == (1, 2, 3, 4, 64, 128)
    assert with_baby_steps(steps.packing, 2).cost(2) <= steps.cost(2)


def test_thin_matrices_take_several_vectors_and_no_baby_steps() -> None:
    steps = choose(2, 384, 4096, 2)
    assert (steps.packing.vectors, steps.baby, len(steps.rotations)) == (4, 1, 9)


@pytest.mark.parametrize(("rows", "columns"), [(0, 4), (4, 0), (4, SLOTS // 2 + 1)])
def test_matrices_that_fit_no_layout_are_refused(rows: int, columns: int) -> None:
    with pytest.raises(EncryptionError, match="a layer needs"):
        layouts(rows, columns, SLOTS)


def test_vectors_of_another_shape_are_refused() -> None:
    packing = choose(2, 16, SLOTS, 2).packing
    for shape in ((1, 15), (packing.vectors + 1, 16), (0, 16)):
        with pytest.raises(EncryptionError, match="vectors of 16 numbers"):
            packing.pack(np.zeros(shape))


def test_a_following_layer_that_is_wider_is_refused() -> None:
    before = choose(8, 40, SLOTS, 2).packing
    with pytest.raises(EncryptionError, match="as wide as the layer after"):
        following(before, SLOTS)
