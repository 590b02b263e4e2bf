"""How the ONNX Runtime engine lays batches out, against brute force over single tokens."""

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hetero.backends.onnx_encoder import static_groups
from hetero.backends.paged_layout import group_by_length, paged_groups
from hetero.backends.static_decoder import StaticShape
from hetero.backends.static_layout import (
    HIDDEN,
    Piece,
    StaticSizes,
    StaticStep,
    slot_buckets,
    smallest_fitting,
    static_steps,
    step_mask,
)
from hetero.batch import DecodeBatch

SIZES = StaticSizes((1, 4), (16, 64), (64, 128, 256))
BLOCK_TOKENS = 8

#: (new tokens, tokens before them) of each sequence.
lengths = st.lists(st.tuples(st.integers(1, 90), st.integers(0, 120)), min_size=1, max_size=9)


def _batch(sequences: Sequence[tuple[int, int]]) -> DecodeBatch:
    counts, past = zip(*sequences, strict=True)
    tables = [-(-(count + before) // BLOCK_TOKENS) for count, before in sequences]
    blocks = np.random.default_rng(1).permutation(sum(tables)).astype(np.int32)
    positions = np.concatenate([np.arange(before, before + count) for count, before in sequences])
    return DecodeBatch(
        0,
        np.arange(sum(counts)),
        positions,
        np.array(past, np.int32),
        np.cumsum([0, *counts]).astype(np.int32),
        blocks,
        np.cumsum([0, *tables]).astype(np.int32),
        np.arange(len(sequences), dtype=np.int32)[::-1].copy(),
        np.zeros(0, np.int64),
        (),
    )


@given(lengths)
@settings(max_examples=60, deadline=None)
def test_static_steps_hold_every_token_once_and_in_order(sequences: list[tuple[int, int]]) -> None:
    batch, seen = _batch(sequences), {}
    for step in static_steps(batch, SIZES):
        assert len(step.pieces) <= step.shape.rows and step.shape.rows in SIZES.rows
        for piece in step.pieces:
            assert piece.count <= step.shape.chunk and piece.past <= step.shape.slots
            for i in range(piece.count):
                assert piece.past + i == batch.positions[piece.begin + i]
                seen.setdefault(piece.slot, []).append(piece.begin + i)
    assert seen == {
        int(slot): list(range(int(batch.begins[i]), int(batch.begins[i + 1]))) for i, slot in enumerate(batch.slots)
    }


def test_static_steps_put_single_tokens_together() -> None:
    steps = list(static_steps(_batch([(1, 9), (20, 0), (1, 70), (1, 3), (1, 5), (1, 100)]), SIZES))
    assert [step.shape for step in steps] == [StaticShape(4, 1, 128), StaticShape(1, 1, 128), StaticShape(1, 64, 64)]


@pytest.mark.parametrize("window", [0, 1, 5, 40])
def test_static_mask_hides_what_a_token_must_not_see(window: int) -> None:
    step = StaticStep(StaticShape(3, 4, 10), (Piece(0, 0, 4, 7), Piece(1, 4, 2, 0)))
    mask = step_mask(step, window, 2, np.dtype(np.float16))
    assert mask.shape == (3, 1, 8, 14)
    for row, past in enumerate((7, 0)):
        for token in range(4):
            for key in range(14):
                position = key if key < 10 else past + key - 10
                seen = position <= past + token and (key >= 10 or key < past)
                seen &= not window or position > past + token - window
                assert {mask[row, 0, token, key], mask[row, 0, 4 + token, key]} == {np.float16(0 if seen else HIDDEN)}


@pytest.mark.parametrize(
    ("context", "buckets"), [(40, (40,)), (64, (64,)), (200, (64, 128, 200)), (256, (64, 128, 256))]
)
def test_slot_buckets_double_up_to_the_context(context: int, buckets: tuple[int, ...]) -> None:
    assert slot_buckets(context) == buckets
    assert [smallest_fitting(buckets, need) for need in (1, context, context + 1)] == [buckets[0], context, context]


@given(lengths, st.sampled_from([0, 3, 50]))
@settings(max_examples=40, deadline=None)
def test_paged_groups_place_and_mask_every_token(sequences: list[tuple[int, int]], window: int) -> None:
    batch = _batch(sequences)
    groups = paged_groups(batch, 2, BLOCK_TOKENS)
    assert sorted(np.concatenate([group.rows for group in groups])) == list(range(len(batch.token_ids)))
    for group in groups:
        mask = group.mask(window, BLOCK_TOKENS, np.dtype(np.float32))
        for i, row in enumerate(group.rows):
            sequence = int(np.searchsorted(batch.begins, row, "right")) - 1
            table = batch.block_indices[batch.block_begins[sequence] : batch.block_begins[sequence + 1]]
            position = int(batch.positions[row])
            block = table[position // BLOCK_TOKENS]
            assert group.write[i].tolist() == [[block, head, position % BLOCK_TOKENS] for head in range(2)]
            at, place = divmod(int(group.collect[i]), group.spread.shape[1])
            assert group.spread[at, place] == i
            assert group.blocks[at, : len(table)].tolist() == table.tolist()
            seen = np.flatnonzero(mask[at, 0, place] == 0)
            assert seen.tolist() == list(range(max(0, position - window + 1) if window else 0, position + 1))


def test_groups_by_length_never_pad_beyond_half() -> None:
    assert group_by_length([1, 50, 1, 26, 25, 200]) == [[5], [1, 3], [4], [0, 2]]


def test_encoder_groups_hold_every_text_once_at_its_own_size() -> None:
    groups = [(chosen.tolist(), size) for chosen, size in static_groups(np.array([3, 16, 17, 9, 1, 200, 4]), 100)]
    assert groups == [([0, 1, 3, 4], 16), ([6], 16), ([2], 32), ([5], 100)]
