"""Paged attention in torch, on any of its devices: keys and values in blocks, gathered by block tables.

Knows one step's tokens and the caches; knows no weights. T are the step's tokens, KH the heads of keys and values.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hetero.batch import DecodeBatch, IntArray
from hetero.models.decoder import AttentionShape


@dataclass(frozen=True, slots=True)
class RowsRead:
    """Sequences with one new token each: `rows` int64 [S] of T, `blocks` int64 [S * N], `mask` [S, 1, 1, N * bt]."""

    rows: Tensor
    blocks: Tensor
    mask: Tensor

    def attend(self, q: Tensor, keys: Tensor, values: Tensor, scale: float, out: Tensor) -> None:
        """One attention for all of them; the query heads of one key head stand as its query rows."""
        count, kv_heads, size = len(self.rows), keys.shape[2], keys.shape[3]
        grouped = q.index_select(0, self.rows).view(count, kv_heads, -1, size)
        k, v = (cache.index_select(0, self.blocks).view(count, -1, kv_heads, size).transpose(1, 2)
                for cache in (keys, values))  # fmt: skip
        attended = F.scaled_dot_product_attention(grouped, k, v, attn_mask=self.mask, scale=scale)
        out.index_copy_(0, self.rows, attended.reshape(count, -1))


@dataclass(frozen=True, slots=True)
class ChunkRead:
    """A prompt's chunk: rows [begin, end) of T, `blocks` int64 [N], `mask` [1, 1, end - begin, N * bt].

    `mask` is None where the chunk sees only itself: then it is plain causal attention over its first tokens.
    """

    begin: int
    end: int
    blocks: Tensor
    mask: Tensor | None

    def attend(self, q: Tensor, keys: Tensor, values: Tensor, scale: float, out: Tensor) -> None:
        kv_heads, size, count = keys.shape[2], keys.shape[3], self.end - self.begin
        heads = q[self.begin : self.end].view(1, count, -1, size).transpose(1, 2)
        k, v = (cache.index_select(0, self.blocks).view(1, -1, kv_heads, size).transpose(1, 2)
                for cache in (keys, values))  # fmt: skip
        if self.mask is None:
            k, v = k[:, :, :count], v[:, :, :count]
        attended = F.scaled_dot_product_attention(
            heads, k, v, attn_mask=self.mask, is_causal=self.mask is None, scale=scale, enable_gqa=True
        )
        out[self.begin : self.end] = attended.transpose(1, 2).reshape(count, -1)


class Step:
    """What the attention of every block must know of one batch: where new tokens go, what each sequence reads."""

    def __init__(self, batch: DecodeBatch, block_tokens: int, device: torch.device, dtype: torch.dtype) -> None:
        self._batch, self._block_tokens, self._device, self._dtype = batch, block_tokens, device, dtype
        self._counts = np.diff(batch.begins)
        self._reads: dict[int, tuple[RowsRead | ChunkRead, ...]] = {}
        self.slots = self._tensor(self._new_slots())

    def reads(self, window: int) -> tuple[RowsRead | ChunkRead, ...]:
        """The reads under a sliding window (0: none); made once and shared by the blocks that have it."""
        if window not in self._reads:
            self._reads[window] = (*self._row_reads(window), *self._chunk_reads(window))
        return self._reads[window]

    def _tensor(self, values: np.ndarray) -> Tensor:
        return torch.from_numpy(values.astype(np.int64)).to(self._device)

    def _table(self, sequence: int) -> IntArray:
        begins = self._batch.block_begins
        return self._batch.block_indices[begins[sequence] : begins[sequence + 1]]

    def _new_slots(self) -> np.ndarray:
        """Where each of the T tokens is kept, counted in tokens over the whole cache."""
        places = np.arange(len(self._batch.token_ids)) - np.repeat(self._batch.begins[:-1], self._counts)
        places = places + np.repeat(self._batch.past_lens, self._counts)
        first_blocks = np.repeat(self._batch.block_begins[:-1], self._counts)
        blocks = self._batch.block_indices[first_blocks + places // self._block_tokens]
        slots: np.ndarray = blocks.astype(np.int64) * self._block_tokens + places % self._block_tokens
        return slots

    def _extent(self, sequence: int, window: int) -> tuple[int, int]:
        """[first, last) of the sequence's blocks that any of its new tokens sees."""
        past, count = int(self._batch.past_lens[sequence]), int(self._counts[sequence])
        first = max(0, past - window + 1) // self._block_tokens if window else 0
        return first, -(-(past + count) // self._block_tokens)

    def _mask(self, seen: np.ndarray) -> Tensor:
        mask = torch.zeros(seen.shape, dtype=self._dtype)
        return mask.masked_fill_(torch.from_numpy(~seen), float("-inf")).to(self._device)

    def _row_reads(self, window: int) -> Iterator[RowsRead]:
        """Sequences of one new token, those of similar length together, so that little of the gather is padding."""
        groups: dict[int, list[int]] = {}
        for sequence in np.flatnonzero(self._counts == 1).tolist():
            first, last = self._extent(sequence, window)
            groups.setdefault((last - first).bit_length(), []).append(sequence)
        for sequences in groups.values():
            yield self._rows_read(sequences, window)

    def _rows_read(self, sequences: list[int], window: int) -> RowsRead:
        extents = [self._extent(sequence, window) for sequence in sequences]
        width = max(last - first for first, last in extents)
        blocks = np.empty((len(sequences), width), np.int64)
        for row, (sequence, (first, last)) in enumerate(zip(sequences, extents, strict=True)):
            own = self._table(sequence)[first:last]
            blocks[row, : len(own)], blocks[row, len(own) :] = own, own[-1]
        places = np.array([first for first, _ in extents])[:, None] * self._block_tokens
        places = places + np.arange(width * self._block_tokens)
        seen = _seen(self._batch.past_lens[sequences][:, None], places, window)
        rows = self._tensor(self._batch.begins[:-1][sequences])
        return RowsRead(rows, self._tensor(blocks.reshape(-1)), self._mask(seen)[:, None, None])

    def _chunk_reads(self, window: int) -> Iterator[ChunkRead]:
        for sequence in np.flatnonzero(self._counts > 1).tolist():
            first, last = self._extent(sequence, window)
            begin, end = (int(i) for i in self._batch.begins[sequence : sequence + 2])
            past = int(self._batch.past_lens[sequence])
            mask = None
            if past or (window and end - begin > window):
                queries = past + np.arange(end - begin)[:, None]
                places = np.arange(first * self._block_tokens, last * self._block_tokens)
                mask = self._mask(_seen(queries, places, window))[None, None]
            yield ChunkRead(begin, end, self._tensor(self._table(sequence)[first:last]), mask)


def _seen(queries: np.ndarray, places: np.ndarray, window: int) -> np.ndarray:
    """Whether the token at a query's place sees that at a place: itself and before, at most `window` of them."""
    seen = places <= queries
    return seen & (places > queries - window) if window else seen


class StepHolder:
    """The step that the blocks' attention works on; the slice sets it before each run."""

    step: Step


class PagedAttention(nn.Module):
    """One block's attention with its own cache: keys and values [block_count, block_tokens, KH, head_size]."""

    def __init__(self, shape: AttentionShape, keys: Tensor, values: Tensor, holder: StepHolder) -> None:
        super().__init__()
        self.shape, self.keys, self.values, self.holder = shape, keys, values, holder

    def forward(self, q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        step = self.holder.step
        for cache, new in ((self.keys, k), (self.values, v)):
            cache.view(-1, *cache.shape[2:]).index_copy_(0, step.slots, new.view(-1, *cache.shape[2:]))
        out = torch.empty_like(q)
        for read in step.reads(self.shape.sliding_window):
            read.attend(q, self.keys, self.values, self.shape.scale, out)
        return out, ()
