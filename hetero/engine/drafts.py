"""Drafts: tokens that an inner exit proposes, and what becomes of them behind it.

The first stage runs its own blocks for a draft and asks the exit head after them for the next one; its hidden states
and KV are those of full depth, so nothing is computed twice. The deeper stages get all of a sequence's drafts as one
chunk, which fills their KV. Then one of two:

* Full depth verifies: a draft is kept where full depth samples the same token (Elhoushi et al. 2024, "LayerSkip",
  https://arxiv.org/abs/2404.16710; for pipelines see https://arxiv.org/abs/2509.19368). What a row samples is a
  function of its logits, its seed and its position, so what comes out is what full depth gives alone, greedy or not.
* The exit's word is taken wherever it is sure enough (Schuster et al. 2022, "CALM", https://arxiv.org/abs/2207.07061),
  and full depth is asked only after the last token, where the exit was not. The deeper KV of the others is filled late,
  by the one chunk, from their own states at the exit: it is exact for these tokens. Whether a token is the exit's
  depends on the tokens before it alone, not on how many are drafted in a step, which is only a matter of pace.

Knows the arrays of batches; knows neither engines (`pipeline/drafting.py`) nor when drafting pays (`draft_length.py`).
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import islice

import numpy as np

from hetero.batch import DecodeBatch, LongArray, RowSampling, SampledToken

#: Stands in an array of drafts where a row has no more of them.
NO_DRAFT = -1


def last_word(token_ids: LongArray) -> LongArray:
    """How an array of drafts holds the tokens that an exit says last: they are taken, and not run in this step."""
    return NO_DRAFT - 1 - token_ids


def with_drafts(batch: DecodeBatch, drafts: LongArray) -> DecodeBatch:
    """`batch` with each sampled row's drafts, int64 [R, K], after that row's token; sampled as they ask for.

    A sampled row must be the last of its sequence. Rows end at the first number below 0. Stages that do not sample
    have a batch without `sampling`, and get one.
    """
    kept = [[int(token) for token in row if token > NO_DRAFT] for row in drafts]
    owners = np.searchsorted(batch.begins, batch.sample_rows, side="right") - 1
    extra = np.zeros(batch.sequence_count, np.int64)
    extra[owners] = [len(tokens) for tokens in kept]
    begins = (batch.begins + np.concatenate([[0], np.cumsum(extra)])).astype(np.int32)
    places = batch.sample_rows + np.concatenate([[0], np.cumsum(extra)])[owners]
    asked = [_asked(row, said) for row, said in zip(batch.sampling or [RowSampling()] * len(kept), drafts, strict=True)]
    return replace(
        batch,
        token_ids=_inserted(batch.token_ids, batch.sample_rows, kept),
        positions=_inserted(batch.positions, batch.sample_rows, _following(batch, kept)),
        begins=begins,
        sample_rows=np.array([place + i for place, of in zip(places, asked, strict=True) for i in of], np.int64),
        sampling=tuple(
            later(row, tokens[:count])
            for row, tokens, of in zip(batch.sampling, kept, asked, strict=False)
            for count in of
        ),
    )


def _asked(row: RowSampling, drafts: LongArray) -> range:
    """After how many of a row's drafts full depth says the next token: after each, or only where the exit did not."""
    count = int((drafts > NO_DRAFT).sum())
    if not row.exit_threshold or row.audited:
        return range(count + 1)
    return range(count + int((drafts < NO_DRAFT).any()), count + 1)


def later(row: RowSampling, drafts: Sequence[int]) -> RowSampling:
    """How the row is sampled after `drafts` have been taken."""
    if not drafts:
        return row
    seen = None if row.seen is None else np.union1d(row.seen, np.array(drafts, np.int64))
    return replace(row, position=row.position + len(drafts), seen=seen)


def held(sampled: Sequence[SampledToken], drafts: LongArray, rows: Sequence[RowSampling]) -> tuple[SampledToken, ...]:
    """Each row's tokens: its drafts as long as they are kept, and the token after them.

    `sampled` are the tokens of all rows of `with_drafts`, in order; `drafts` int64 [R, K] those of `rows`.
    """
    left = iter(sampled)
    kept: list[SampledToken] = []
    for row, said in zip(rows, drafts, strict=True):
        own = list(islice(left, len(_asked(row, said))))
        kept += _taken(row, said, own) if row.exit_threshold else _verified(own, said[said > NO_DRAFT])
    return tuple(kept)


def said_early(drafts: LongArray, rows: Sequence[RowSampling]) -> tuple[SampledToken, ...]:
    """What can be told before the blocks behind the exit have run: the tokens of rows that the exit said to the last.

    Every other row has one token NO_DRAFT; nothing where there are only such. An audited row waits for full depth.
    """
    whole = [bool((said < NO_DRAFT).any()) and not row.audited for row, said in zip(rows, drafts, strict=True)]
    if not any(whole):
        return ()
    pairs = zip(rows, drafts, whole, strict=True)
    return tuple(
        token for row, said, told in pairs for token in (_taken(row, said, ()) if told else [SampledToken(NO_DRAFT)])
    )


def _verified(sampled: Sequence[SampledToken], drafts: LongArray) -> Iterator[SampledToken]:
    good = next((i for i, draft in enumerate(drafts) if sampled[i].token_id != draft), len(drafts))
    yield from (replace(token, accepted=True) for token in sampled[:good])
    yield replace(sampled[good], drafted=len(drafts))


def _taken(row: RowSampling, drafts: LongArray, sampled: Sequence[SampledToken]) -> Iterator[SampledToken]:
    """The exit's tokens; then, where it did not say the last one, full depth's."""
    run = drafts[drafts > NO_DRAFT].tolist()
    said = [*run, *last_word(drafts[drafts < NO_DRAFT]).tolist()]
    for index, token in enumerate(said):
        differs = row.audited and sampled[index].token_id != token
        inner = index < len(run)
        yield SampledToken(token, accepted=inner, drafted=0 if inner else len(run), exited=True, differs=differs)
    if len(said) == len(run):
        yield replace(sampled[-1], drafted=len(run))


def _inserted(values: LongArray, rows: LongArray, extra: Sequence[Sequence[int]]) -> LongArray:
    """`values` with `extra[i]` after `values[rows[i]]`."""
    places = np.repeat(rows + 1, [len(more) for more in extra])
    return np.insert(values, places, [value for more in extra for value in more])


def _following(batch: DecodeBatch, kept: Sequence[Sequence[int]]) -> list[list[int]]:
    firsts = batch.positions[batch.sample_rows].tolist()
    return [list(range(first + 1, first + 1 + len(tokens))) for first, tokens in zip(firsts, kept, strict=True)]
