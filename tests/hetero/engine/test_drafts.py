"""Drafts laid out in a batch, and what is kept of them."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from hetero.batch import DecodeBatch, RowSampling, SampledToken
from hetero.engine.drafts import NO_DRAFT, held, last_word, said_early, with_drafts


def ragged(turns: list[tuple[int, int, bool]]) -> DecodeBatch:
    """A batch of turns (past, count, samples); token ids tell sequence and position."""
    ends = np.cumsum([0, *(count for _, count, _ in turns)])
    return DecodeBatch(
        7,
        token_ids=np.concatenate([100 * (i + 1) + np.arange(past, past + n) for i, (past, n, _) in enumerate(turns)]),
        positions=np.concatenate([np.arange(past, past + n) for past, n, _ in turns]),
        past_lens=np.array([past for past, _, _ in turns], np.int32),
        begins=ends.astype(np.int32),
        block_indices=np.arange(2 * len(turns), dtype=np.int32),
        block_begins=np.arange(0, 2 * len(turns) + 1, 2, dtype=np.int32),
        slots=np.arange(len(turns), dtype=np.int32),
        sample_rows=np.array([end - 1 for end, (_, _, samples) in zip(ends[1:], turns, strict=True) if samples], int),
        sampling=tuple(RowSampling(position=past + n) for past, n, samples in turns if samples),
    )


turns = st.lists(st.tuples(st.integers(0, 9), st.integers(1, 4), st.booleans()), min_size=1, max_size=5)


@given(turns, st.data())
@settings(max_examples=150, deadline=None)
def test_drafts_follow_their_rows_as_in_a_batch_that_knew_them(turns: list[tuple[int, int, bool]], data) -> None:
    batch = ragged(turns)
    counts = [data.draw(st.integers(0, 3)) for _ in batch.sampling]
    drafts = np.full((len(counts), 3), NO_DRAFT, np.int64)
    for row, count in enumerate(counts):
        drafts[row, :count] = 900 + np.arange(count)
    found = with_drafts(batch, drafts)
    left = iter(counts)
    extra = [next(left) if samples else 0 for _, _, samples in turns]
    known = ragged([(past, n + more, samples) for (past, n, samples), more in zip(turns, extra, strict=True)])
    assert found.begins.tolist() == known.begins.tolist()
    assert found.positions.tolist() == known.positions.tolist()
    is_draft = found.token_ids >= 900
    assert is_draft.sum() == sum(counts)
    assert found.token_ids[~is_draft].tolist() == batch.token_ids.tolist()
    assert found.past_lens.tolist() == batch.past_lens.tolist()
    wanted = [
        range(n + past, n + past + more + 1) for (past, n, samples), more in zip(turns, extra, strict=True) if samples
    ]
    assert [row.position for row in found.sampling] == [position for row in wanted for position in row]
    assert (found.positions[found.sample_rows] + 1).tolist() == [position for row in wanted for position in row]


def test_stage_that_does_not_sample_lays_drafts_out_alike() -> None:
    batch = ragged([(3, 1, True), (5, 2, False), (2, 1, True)])
    drafts = np.array([[7, 8, -9], [NO_DRAFT] * 3])
    knows = with_drafts(batch, drafts)
    blind = with_drafts(DecodeBatch(**{**_fields(batch), "sampling": ()}), drafts)
    assert blind.sampling == ()
    for name in ("token_ids", "positions", "begins", "past_lens"):
        assert getattr(blind, name).tolist() == getattr(knows, name).tolist()
    assert knows.token_ids.tolist()[1:3] == [7, 8], "the exit's last word, 7 as well, is not run"


def test_exits_words_are_taken_and_full_depth_says_the_rest() -> None:
    rows = [
        RowSampling(exit_threshold=0.5),
        RowSampling(exit_threshold=0.5),
        RowSampling(exit_threshold=0.5, audited=True),
    ]
    drafts = np.array([[4, 5, NO_DRAFT], [6, last_word(np.array([3]))[0], NO_DRAFT], [1, 2, NO_DRAFT]])
    sampled = [SampledToken(token) for token in (9, 1, 7, 8)]
    found = held(sampled, drafts, rows)
    assert [token.token_id for token in found] == [4, 5, 9, 6, 3, 1, 2, 8]
    assert [token.accepted for token in found] == [True, True, False, True, False, True, True, False]
    assert [token.exited for token in found] == [True, True, False, True, True, True, True, False]
    assert [token.differs for token in found] == [False] * 6 + [True, False]
    assert [token.token_id for token in said_early(drafts, rows)] == [NO_DRAFT, 6, 3, NO_DRAFT]
    assert said_early(drafts[:1], rows[:1]) == ()


def test_penalised_row_counts_its_drafts_as_seen() -> None:
    batch = ragged([(3, 1, True)])
    row = RowSampling(repetition_penalty=1.5, position=4, seen=np.array([5], np.int64))
    found = with_drafts(DecodeBatch(**{**_fields(batch), "sampling": (row,)}), np.array([[8, 5]]))
    assert [each.seen.tolist() for each in found.sampling] == [[5], [5, 8], [5, 8]]


def _fields(batch: DecodeBatch) -> dict:
    return {name: getattr(batch, name) for name in DecodeBatch.__dataclass_fields__}


def test_verification_keeps_drafts_up_to_the_first_that_differs() -> None:
    drafts = np.array([[4, 5, 6], [7, NO_DRAFT, NO_DRAFT], [NO_DRAFT] * 3, [1, 2, NO_DRAFT]])
    sampled = [SampledToken(token) for token in (4, 9, 6, 3, 7, 8, 5, 2, 2, 3)]
    found = held(sampled, drafts, [RowSampling(draft_limit=3)] * 4)
    assert [token.token_id for token in found] == [4, 9, 7, 8, 5, 2]
    assert [token.accepted for token in found] == [True, False, True, False, False, False]
    assert [token.drafted for token in found if not token.accepted] == [3, 1, 0, 2]
