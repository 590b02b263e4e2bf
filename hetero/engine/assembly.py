"""Turns become a ragged batch. Knows the layout of `DecodeBatch`; decides nothing."""

from collections.abc import Sequence as Items
from itertools import accumulate, chain

import numpy as np

from hetero.batch import DecodeBatch
from hetero.engine.scheduler import Turn


def assemble(batch_id: int, turns: Items[Turn], block_tokens: int, draft_confidence: float = 0.0) -> DecodeBatch:
    """The batch of `turns`, in their order; each lists just the blocks that its tokens and its drafts fill."""
    counts = [turn.last - turn.first for turn in turns]
    blocks = [turn.sequence.blocks[: -(-(turn.last + turn.drafts) // block_tokens)] for turn in turns]
    begins = _begins(counts)
    tokens = chain.from_iterable(turn.sequence.token_ids[turn.first : turn.last] for turn in turns)
    positions = [np.arange(turn.first, turn.last, dtype=np.int64) for turn in turns]
    return DecodeBatch(
        batch_id=batch_id,
        token_ids=np.fromiter(tokens, np.int64, sum(counts)),
        positions=np.concatenate(positions),
        past_lens=np.array([turn.first for turn in turns], np.int32),
        begins=np.array(begins, np.int32),
        block_indices=np.fromiter(chain.from_iterable(blocks), np.int32),
        block_begins=np.array(_begins([len(held) for held in blocks]), np.int32),
        slots=np.array([turn.sequence.slot for turn in turns], np.int32),
        sample_rows=np.array([end - 1 for end, turn in zip(begins[1:], turns, strict=True) if turn.samples], np.int64),
        sampling=tuple(turn.sequence.row_sampling(turn.drafts, draft_confidence) for turn in turns if turn.samples),
    )


def _begins(counts: list[int]) -> list[int]:
    return list(accumulate(counts, initial=0))
