"""Drafts: tokens that an inner exit proposes and the deeper stages verify in one pass.

The first stage runs its own blocks for a draft and asks the exit head after them for the next one; its hidden states
and KV are those of full depth, so nothing is computed twice. The deeper stages get all of a sequence's drafts as one
chunk, and a draft is kept where the full depth samples the same token (Elhoushi et al. 2024, "LayerSkip",
https://arxiv.org/abs/2404.16710; for pipelines see https://arxiv.org/abs/2509.19368). What a row samples is a function
of its logits, its seed and its position, so what comes out is what full depth gives alone, greedy or not.

Knows the arrays of batches; knows neither engines (`pipeline/drafting.py`) nor when drafting pays (`draft_length.py`).
"""

from collections.abc import Sequence
from dataclasses import replace
from itertools import accumulate

import numpy as np

from hetero.batch import DecodeBatch, LongArray, RowSampling, SampledToken

#: Stands in an array of drafts where a row has no more of them.
NO_DRAFT = -1


def with_drafts(batch: DecodeBatch, drafts: LongArray) -> DecodeBatch:
    """`batch` with each sampled row's drafts, int64 [R, K], after that row's token; every one of them is sampled.

    A sampled row must be the last of its sequence. Rows end at the first NO_DRAFT.
    """
    kept = [[int(token) for token in row if token != NO_DRAFT] for row in drafts]
    owners = np.searchsorted(batch.begins, batch.sample_rows, side="right") - 1
    extra = np.zeros(batch.sequence_count, np.int64)
    extra[owners] = [len(tokens) for tokens in kept]
    begins = (batch.begins + np.concatenate([[0], np.cumsum(extra)])).astype(np.int32)
    places = batch.sample_rows + np.concatenate([[0], np.cumsum(extra)])[owners]
    return replace(
        batch,
        token_ids=_inserted(batch.token_ids, batch.sample_rows, kept),
        positions=_inserted(batch.positions, batch.sample_rows, _following(batch, kept)),
        begins=begins,
        sample_rows=np.concatenate(
            [np.arange(place, place + len(tokens) + 1) for place, tokens in zip(places, kept, strict=True)]
            or [np.empty(0, np.int64)]
        ),
        sampling=tuple(
            later(row, tokens[:count])
            for row, tokens in zip(batch.sampling, kept, strict=True)
            for count in range(len(tokens) + 1)
        ),
    )


def later(row: RowSampling, drafts: Sequence[int]) -> RowSampling:
    """How the row is sampled after `drafts` have been taken."""
    if not drafts:
        return row
    seen = None if row.seen is None else np.union1d(row.seen, np.array(drafts, np.int64))
    return replace(row, position=row.position + len(drafts), seen=seen)


def held(sampled: Sequence[SampledToken], drafts: LongArray) -> tuple[SampledToken, ...]:
    """Each row's tokens: its drafts as long as full depth samples the same, and the token that it samples after them.

    `sampled` are the tokens of all rows of `with_drafts`, in order; `drafts` int64 [R, K].
    """
    counts = [int(count) for count in (drafts != NO_DRAFT).sum(axis=1)]
    starts = accumulate((count + 1 for count in counts), initial=0)
    rows = zip(starts, counts, drafts, strict=False)
    return tuple(
        token for start, count, row in rows for token in _held(sampled[start : start + count + 1], row[:count])
    )


def _held(sampled: Sequence[SampledToken], drafts: LongArray) -> list[SampledToken]:
    good = next((i for i, draft in enumerate(drafts) if sampled[i].token_id != draft), len(drafts))
    return [*(replace(token, accepted=True) for token in sampled[:good]), replace(sampled[good], drafted=len(drafts))]


def _inserted(values: LongArray, rows: LongArray, extra: Sequence[Sequence[int]]) -> LongArray:
    """`values` with `extra[i]` after `values[rows[i]]`."""
    places = np.repeat(rows + 1, [len(more) for more in extra])
    return np.insert(values, places, [value for more in extra for value in more])


def _following(batch: DecodeBatch, kept: Sequence[Sequence[int]]) -> list[list[int]]:
    firsts = batch.positions[batch.sample_rows].tolist()
    return [list(range(first + 1, first + 1 + len(tokens))) for first, tokens in zip(firsts, kept, strict=True)]
