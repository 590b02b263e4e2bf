"""Sampling against the logits processors of transformers, and its own promises: seeds, log-probabilities, speed."""

import time

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers.generation import (
    LogitsProcessorList,
    MinPLogitsWarper,
    RepetitionPenaltyLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from hetero.batch import FloatArray, LongArray, RowSampling
from hetero.engine.sampler import sample, uniform
from hetero.engine.warpers import keep_top_p, penalize, warp
from hetero.errors import BackendError

SEEN = np.array([0, 3, 7, 11, 120])


def make_logits(rows: int, vocabulary: int, seed: int = 0, scale: float = 3.0) -> FloatArray:
    return (np.random.default_rng(seed).standard_normal((rows, vocabulary)) * scale).astype(np.float32)


def reference(logits: FloatArray, row: RowSampling, seen: LongArray) -> FloatArray:
    """Probabilities after the processors of transformers, in the order in which its `generate` applies them."""
    processors = LogitsProcessorList()
    if row.repetition_penalty != 1.0:
        processors.append(RepetitionPenaltyLogitsProcessor(row.repetition_penalty))
    if row.temperature > 0:
        processors.append(TemperatureLogitsWarper(float(row.temperature)))
    if row.top_k:
        processors.append(TopKLogitsWarper(row.top_k))
    if row.top_p < 1.0:
        processors.append(TopPLogitsWarper(row.top_p))
    if row.min_p > 0:
        processors.append(MinPLogitsWarper(row.min_p))
    scores = processors(torch.tensor(seen)[None], torch.tensor(logits)[None])
    return torch.softmax(scores.double(), -1)[0].float().numpy()


def probabilities(logits: FloatArray, row: RowSampling, seen: LongArray) -> FloatArray:
    candidates = warp(penalize(logits, seen, row.repetition_penalty), row)
    dense = np.zeros(len(logits), np.float32)
    weights = candidates.weights()
    dense[candidates.ids] = weights / weights.sum()
    return dense


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    "row",
    [
        RowSampling(temperature=1.0),
        RowSampling(temperature=0.3),
        RowSampling(temperature=1.7, repetition_penalty=1.3),
        RowSampling(temperature=1.0, repetition_penalty=0.7),
        RowSampling(temperature=1.0, top_k=1),
        RowSampling(temperature=1.0, top_k=40),
        RowSampling(temperature=1.0, top_k=10**9),
        RowSampling(temperature=1.0, top_p=0.01),
        RowSampling(temperature=1.0, top_p=0.9),
        RowSampling(temperature=3.0, top_p=0.999),
        RowSampling(temperature=1.0, min_p=0.05),
        RowSampling(temperature=1.0, min_p=1.0),
        RowSampling(temperature=0.8, top_k=50, top_p=0.95, min_p=0.02, repetition_penalty=1.1),
        RowSampling(temperature=1.5, top_k=300, top_p=0.5, min_p=0.3),
    ],
    ids=repr,
)
def test_warpers_equal_those_of_transformers(row: RowSampling, seed: int) -> None:
    logits = make_logits(1, 2000, seed)[0]
    expected = reference(logits, row, SEEN)
    ours = probabilities(logits, row, SEEN)
    assert np.array_equal(ours > 0, expected > 0)
    np.testing.assert_allclose(ours, expected, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("k", [1, 2, 3, 5])
def test_top_k_keeps_ties_with_the_last_as_transformers_does(k: int) -> None:
    logits = np.array([1, 5, 5, 5, 4, 4, 0], np.float32)
    row = RowSampling(temperature=1.0, top_k=k)
    np.testing.assert_allclose(probabilities(logits, row, SEEN[:0]), reference(logits, row, SEEN[:0]), rtol=1e-5)


def test_top_p_among_equals_keeps_as_many_as_the_mass_needs_the_lower_ids_first() -> None:
    candidates = warp(np.zeros(10, np.float32), RowSampling(temperature=1.0))
    assert keep_top_p(candidates, 0.45).ids.tolist() == [0, 1, 2, 3, 4]


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 3000), st.floats(0.001, 0.999), st.floats(0.05, 20), st.integers(0, 10**6))
def test_top_p_by_partial_sorting_equals_a_full_sort(size: int, p: float, scale: float, seed: int) -> None:
    candidates = warp(make_logits(1, size, seed, scale)[0], RowSampling(temperature=1.0))
    weights = candidates.weights().astype(np.float64)
    order = np.argsort(-weights, kind="stable")
    before = np.cumsum(weights[order]) - weights[order]
    expected = np.sort(order[(before < p * weights.sum()) | (np.arange(size) == 0)])
    kept = keep_top_p(candidates, p).ids
    # The last token may differ where its mass meets p up to rounding.
    assert abs(len(kept) - len(expected)) <= 1 and len(np.setxor1d(kept, expected)) <= 1


def test_greedy_rows_take_the_argmax() -> None:
    logits = make_logits(16, 5000)
    chosen = sample(logits, [RowSampling()] * 16)
    assert [token.token_id for token in chosen] == torch.tensor(logits).argmax(-1).tolist()
    assert all(token.logprob is None for token in chosen)


@pytest.mark.parametrize("penalty", [0.5, 1.2, 3.0])
def test_greedy_rows_with_a_repetition_penalty_take_the_argmax_after_it(penalty: float) -> None:
    logits = make_logits(8, 300)
    seen = np.unique(logits.argsort(axis=1)[:, -3:])
    row = RowSampling(repetition_penalty=penalty, seen=seen)
    expected = [int(reference(each, row, seen).argmax()) for each in logits]
    assert [token.token_id for token in sample(logits, [row] * 8)] == expected


def test_seen_ids_beyond_the_logits_are_ignored() -> None:
    """Some tokenizers know more ids than the model's head gives."""
    row = RowSampling(repetition_penalty=2.0, seen=np.array([1, 10**6]))
    assert sample(np.array([[1.0, 1.5]], np.float32), [row])[0].token_id == 0


def test_sampling_leaves_the_logits_as_they_are() -> None:
    logits = make_logits(2, 100)
    before = logits.copy()
    sample(logits, [RowSampling(temperature=0.7, top_p=0.5, repetition_penalty=1.5, seen=SEEN[:4], logprobs=3)] * 2)
    assert np.array_equal(logits, before)


def test_draws_follow_the_distribution_of_transformers() -> None:
    logits = make_logits(1, 12, scale=1.0)
    draws = 10_000
    rows = [RowSampling(temperature=0.9, top_p=0.9, seed=5, position=i) for i in range(draws)]
    counts = np.bincount([sample(logits, [row])[0].token_id for row in rows], minlength=12)
    expected = draws * reference(logits[0], rows[0], SEEN[:0])
    kept = expected > 0
    assert counts[~kept].sum() == 0
    chi_square = float((((counts - expected) ** 2)[kept] / expected[kept]).sum())
    assert chi_square < 40  # about 10 degrees of freedom: chance 2e-5, and the draws are always the same


def test_the_same_seed_and_position_give_the_same_token_alone_and_in_a_batch() -> None:
    logits = make_logits(9, 4000)
    rows = [RowSampling(temperature=1.0, seed=i % 3, position=i) for i in range(9)]
    together = [token.token_id for token in sample(logits, rows)]
    alone = [sample(logits[i : i + 1], rows[i : i + 1])[0].token_id for i in range(9)]
    backwards = [token.token_id for token in sample(logits[::-1].copy(), rows[::-1])][::-1]
    assert together == alone == backwards


def test_seeds_and_positions_give_different_numbers() -> None:
    numbers = {uniform(seed, position) for seed in (0, 1, 2**53, 2**63 - 1) for position in range(500)}
    assert len(numbers) == 2000 and all(0 <= number < 1 for number in numbers)


def philox_4x64(counter: list[int], key: list[int]) -> list[int]:
    """Salmon et al., "Parallel random numbers: as easy as 1, 2, 3" (2011), ten rounds."""
    word, a, b = 2**64, 0xD2E7470EE14C6C93, 0xCA5A826395121157
    for _ in range(10):
        x, y = a * counter[0], b * counter[2]
        counter = [y // word ^ counter[1] ^ key[0], y % word, x // word ^ counter[3] ^ key[1], x % word]
        key = [(key[0] + 0x9E3779B97F4A7C15) % word, (key[1] + 0xBB67AE8584CAA73B) % word]
    return counter


@pytest.mark.parametrize(("seed", "position"), [(0, 0), (123, 45), (2**63 - 1, 131_072)])
def test_random_numbers_are_those_of_philox_so_that_a_seed_means_the_same_tomorrow(seed: int, position: int) -> None:
    assert philox_4x64([0] * 4, [0] * 2)[0] == 0x16554D9ECA36314C  # the authors' known answer
    assert uniform(seed, position) == (philox_4x64([1, 0, 0, 0], [seed, position])[0] >> 11) / 2**53


@pytest.mark.parametrize("row", [RowSampling(logprobs=0), RowSampling(temperature=0.5, top_k=2, logprobs=5, seed=3)])
def test_logprobs_are_those_of_the_model_before_every_warper(row: RowSampling) -> None:
    logits = make_logits(4, 1000)
    expected = torch.log_softmax(torch.tensor(logits), -1)
    for index, token in enumerate(sample(logits, [row] * 4)):
        assert token.logprob == pytest.approx(float(expected[index, token.token_id]), abs=1e-4)
        top = torch.topk(expected[index], row.logprobs)
        assert [token_id for token_id, _ in token.alternatives] == top.indices.tolist()
        np.testing.assert_allclose([value for _, value in token.alternatives], top.values.numpy(), atol=1e-4)


def test_more_alternatives_than_tokens_gives_all_of_them() -> None:
    [token] = sample(np.array([[0.0, 2.0, 2.0]], np.float32), [RowSampling(logprobs=10)])
    assert [token_id for token_id, _ in token.alternatives] == [1, 2, 0]


@pytest.mark.parametrize("temperature", [1e-30, 1e-6, 1e6, 1e38])
def test_extreme_temperatures_still_draw_a_token(temperature: float) -> None:
    logits = make_logits(1, 50, scale=100)
    [token] = sample(logits, [RowSampling(temperature=temperature, top_p=0.9, min_p=0.1, seed=1)])
    assert 0 <= token.token_id < 50
    if temperature < 1:
        assert token.token_id == int(logits.argmax())


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("row", [RowSampling(), RowSampling(temperature=1.0)])
def test_logits_that_are_no_numbers_are_an_error(bad: float, row: RowSampling) -> None:
    logits = make_logits(3, 40)
    logits[1, 17] = bad
    with pytest.raises(BackendError, match="not finite"):
        sample(logits, [row] * 3)


def test_masked_logits_are_never_drawn() -> None:
    logits = np.full((1, 30), -np.inf, np.float32)
    logits[0, [4, 9]] = 1.0
    drawn = {sample(logits, [RowSampling(temperature=1.0, seed=s)])[0].token_id for s in range(40)}
    assert drawn == {4, 9}


def test_a_wrong_number_of_rows_is_an_error() -> None:
    with pytest.raises(BackendError, match="2 rows"):
        sample(make_logits(3, 5), [RowSampling()] * 2)


def test_no_rows_give_no_tokens() -> None:
    assert sample(np.empty((0, 100), np.float32), []) == ()


def test_a_greedy_batch_of_16_takes_less_than_a_millisecond() -> None:
    logits, rows = make_logits(16, 32_000), [RowSampling()] * 16
    assert min(_seconds(logits, rows) for _ in range(30)) < 1e-3


def _seconds(logits: FloatArray, rows: list[RowSampling]) -> float:
    begin = time.perf_counter()
    sample(logits, rows)
    return time.perf_counter() - begin


def test_private_row_is_drawn_anew_whatever_its_seed() -> None:
    logits = np.zeros((1, 64), np.float32)
    row = RowSampling(temperature=1.0, private_clip=1.0, seed=5, position=9)
    assert len({sample(logits, [row])[0].token_id for _ in range(60)}) > 10


def test_private_row_bounds_what_the_likeliest_token_gains() -> None:
    logits = np.zeros((1, 4), np.float32)
    logits[0, 2] = 1000.0
    row = RowSampling(temperature=1.0, private_clip=0.5)
    drawn = [sample(logits, [row])[0].token_id for _ in range(600)]
    # exp(1) / (exp(1) + 3) = 0.475 for the bounded logits, where the plain softmax gives 1.
    assert 0.35 < drawn.count(2) / len(drawn) < 0.6


def test_private_row_of_numbers_that_are_none_is_drawn_all_the_same() -> None:
    logits = np.array([[np.nan, np.inf, -np.inf, 0.0]], np.float32)
    [token] = sample(logits, (RowSampling(temperature=1.0, private_clip=1.0),))
    assert 0 <= token.token_id < 4
