"""How a ragged batch is laid out for attention over gathered blocks: groups of like lengths, index arrays and masks.

Knows arrays and numbers alone; knows no engine and keeps no state.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from hetero.batch import DecodeBatch, FloatArray, LongArray

#: Added to the scores of hidden keys in fp32; fp16 takes its own most negative that survives an addition.
HIDDEN = {np.dtype(np.float32): -1e30, np.dtype(np.float16): -1e4}


@dataclass(frozen=True, slots=True)
class PagedGroup:
    """Sequences that are computed together, and the arrays that `PagedAttention` takes for them.

    `rows`: their tokens among the batch's T. `positions` [B, C] are those of the padded grid.
    """

    rows: LongArray
    write: LongArray
    blocks: LongArray
    spread: LongArray
    collect: LongArray
    positions: LongArray

    def mask(self, window: int, block_tokens: int, dtype: np.dtype[Any]) -> FloatArray:
        """Additive [B, 1, C, NB*block_tokens]: 0 where a token sees a key, very negative elsewhere."""
        keys = np.arange(self.blocks.shape[1] * block_tokens)
        queries = self.positions[:, :, None]
        hidden = keys > queries
        if window:
            hidden |= keys <= queries - window
        return np.where(hidden, HIDDEN[dtype], 0.0).astype(dtype)[:, None]


def group_by_length(counts: Sequence[int]) -> list[list[int]]:
    """Sequences whose new tokens are at least half as many as the longest's share a grid: padding stays below half."""
    groups: list[list[int]] = []
    for i in sorted(range(len(counts)), key=lambda i: -counts[i]):
        if groups and 2 * counts[i] > counts[groups[-1][0]]:
            groups[-1].append(i)
        else:
            groups.append([i])
    return groups


def paged_groups(batch: DecodeBatch, kv_heads: int, block_tokens: int) -> list[PagedGroup]:
    """The groups of a batch; together they hold every token once."""
    return [_group(batch, chosen, kv_heads, block_tokens) for chosen in group_by_length(np.diff(batch.begins).tolist())]


def _group(batch: DecodeBatch, chosen: list[int], kv_heads: int, block_tokens: int) -> PagedGroup:
    counts = np.diff(batch.begins)[chosen]
    widest = int(counts.max())
    tables = [batch.block_indices[batch.block_begins[i] : batch.block_begins[i + 1]] for i in chosen]
    blocks = np.zeros((len(chosen), max(map(len, tables))), np.int64)
    for row, table in enumerate(tables):
        blocks[row, : len(table)] = table
    offsets = np.arange(widest)
    real = offsets < counts[:, None]
    positions = batch.past_lens[chosen][:, None].astype(np.int64) + offsets
    spread = np.where(real, np.cumsum(real).reshape(real.shape) - 1, 0)
    sequence = np.nonzero(real)[0]
    rows = (batch.begins[chosen][:, None] + offsets)[real].astype(np.int64)
    write = _write(blocks, sequence, positions[real], kv_heads, block_tokens)
    return PagedGroup(rows, write, blocks, spread, np.flatnonzero(real), positions)


def _write(blocks: LongArray, sequence: LongArray, positions: LongArray, kv_heads: int, block_tokens: int) -> LongArray:
    """Where each token's key heads go: (block, head, place in the block), [T, KH, 3]."""
    write = np.empty((len(positions), kv_heads, 3), np.int64)
    write[:, :, 0] = blocks[sequence, positions // block_tokens][:, None]
    write[:, :, 1] = np.arange(kv_heads)
    write[:, :, 2] = (positions % block_tokens)[:, None]
    return write
