"""The first stage's part of drafting: its blocks and its exit head in turn, until every row has its drafts.

Knows compiled slices and one batch; who verifies is `worker.py` on the last stage, how long drafts are is the engine's.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from hetero.backends.base import CompiledSlice, SliceSpec
from hetero.batch import DecodeBatch, FloatArray, IntArray, LongArray
from hetero.engine.drafts import NO_DRAFT, later, with_drafts
from hetero.engine.sampler import sample
from hetero.models.config_reader import read_config


@dataclass(frozen=True, slots=True)
class Drafted:
    """What a stage sends on: hidden states, those of `with_drafts(batch, drafts)` where there are drafts, [R, K]."""

    hidden: FloatArray
    drafts: LongArray | None


def exit_head(spec: SliceSpec) -> SliceSpec:
    """The slice that is the model's head alone, on the device of `spec`'s blocks."""
    end = read_config(spec.folder).block_count
    return replace(spec, first=end, last=end, drafts=False)


class Drafter:
    """Drafts with `blocks`, the slice from block 0, and `head`, a slice without blocks that ends in an exit head."""

    def __init__(self, blocks: CompiledSlice, head: CompiledSlice) -> None:
        self._blocks = blocks
        self._head = head

    def draft(self, batch: DecodeBatch) -> Drafted:
        """Run `batch`, then a token at a time for the rows that still draft."""
        hidden = self._blocks.run(batch, None).copy()
        limits = _limits(batch)
        drafts = np.full((len(limits), int(limits.max(initial=0))), NO_DRAFT, np.int64)
        pieces, owners = [hidden], []
        active, last = np.arange(len(limits)), hidden[batch.sample_rows]
        for step in range(drafts.shape[1]):
            kept = limits[active] > step
            active, last = active[kept], last[kept]
            tokens, sure = self._propose(batch, active, last, drafts[:, :step])
            active, tokens = active[sure], tokens[sure]
            if not len(active):
                break
            drafts[active, step] = tokens
            last = self._blocks.run(_one_token_each(batch, active, tokens, step), None).copy()
            pieces.append(last)
            owners.append(active)
        return Drafted(_in_order(batch, drafts, pieces, owners), drafts)

    def _propose(
        self, batch: DecodeBatch, active: LongArray, hidden: FloatArray, before: LongArray
    ) -> tuple[LongArray, np.ndarray[tuple[int], np.dtype[np.bool_]]]:
        """The exit's token for each active row, and whether the exit is sure enough of it."""
        if not len(active):
            return np.empty(0, np.int64), np.empty(0, np.bool_)
        rows = _one_token_each(batch, active, np.zeros(len(active), np.int64), 0)
        logits = self._head.run(rows, hidden)
        known = [(batch.sampling[row], before[row].tolist()) for row in active]
        sampling = [replace(later(row, drafts), logprobs=-1) for row, drafts in known]
        tokens = np.array([token.token_id for token in sample(logits, sampling)], np.int64)
        return tokens, _top_probability(logits) >= [row.draft_confidence for row in sampling]

    def close(self) -> None:
        self._head.close()


def _limits(batch: DecodeBatch) -> IntArray:
    return np.array([row.draft_limit for row in batch.sampling], np.int32)


def _top_probability(logits: FloatArray) -> FloatArray:
    shifted = logits - logits.max(axis=1, keepdims=True)
    probabilities: FloatArray = 1 / np.exp(shifted).sum(axis=1)
    return probabilities


def _one_token_each(batch: DecodeBatch, rows: LongArray, tokens: LongArray, step: int) -> DecodeBatch:
    """A batch of the sequences of `rows`, each with the draft that follows `step` earlier ones."""
    owners = np.searchsorted(batch.begins, batch.sample_rows[rows], side="right") - 1
    count = len(rows)
    blocks = [batch.block_indices[batch.block_begins[i] : batch.block_begins[i + 1]] for i in owners]
    return DecodeBatch(
        batch.batch_id,
        token_ids=tokens,
        positions=batch.positions[batch.sample_rows[rows]] + step + 1,
        past_lens=(batch.past_lens[owners] + np.diff(batch.begins)[owners] + step).astype(np.int32),
        begins=np.arange(count + 1, dtype=np.int32),
        block_indices=np.concatenate(blocks),
        block_begins=_begins(blocks),
        slots=batch.slots[owners],
        sample_rows=np.arange(count),
        sampling=(),
    )


def _begins(blocks: Sequence[IntArray]) -> IntArray:
    return np.cumsum([0, *map(len, blocks)]).astype(np.int32)


def _in_order(
    batch: DecodeBatch, drafts: LongArray, pieces: Sequence[FloatArray], owners: Sequence[LongArray]
) -> FloatArray:
    """The rows of all steps as `with_drafts` lays them out: each row's drafts behind it."""
    if not owners:
        return pieces[0]
    whole = with_drafts(batch, drafts)
    ordered = np.empty((len(whole.token_ids), pieces[0].shape[1]), np.float32)
    extra = (drafts != NO_DRAFT).sum(axis=1)
    shifts = np.zeros(len(batch.token_ids), np.int64)
    shifts[batch.sample_rows] = extra
    places = np.arange(len(shifts)) + np.cumsum(shifts) - shifts
    ordered[places] = pieces[0]
    for step, (rows, piece) in enumerate(zip(owners, pieces[1:], strict=True)):
        ordered[places[batch.sample_rows[rows]] + step + 1] = piece
    return ordered
