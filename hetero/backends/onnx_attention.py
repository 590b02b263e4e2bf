"""Paged attention in plain ONNX operators: new keys and values are scattered into the cache, its blocks gathered.

Knows operators and layouts; knows no provider. The cache goes in and comes out of the graph in the same memory, so the
scatter writes only the new tokens, and only the blocks of the batch's sequences are read.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import Function

from hetero.backends.onnx_modules import reshape
from hetero.models.decoder import AttentionShape


class _ScatterNd(Function):
    """`cache` with `updates` [..., N] at `indices` [..., K] of its first K dimensions."""

    @staticmethod
    def forward(ctx: Any, cache: Tensor, indices: Tensor, updates: Tensor) -> Tensor:
        return cache.index_put(tuple(indices.unbind(-1)), updates)

    @staticmethod
    def symbolic(g: Any, cache: Any, indices: Any, updates: Any) -> Any:
        return g.op("ScatterND", cache, indices, updates).setType(cache.type())


class _Gather(Function):
    """The rows of `x` along its first dimension at `indices` of any shape."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, indices: Tensor) -> Tensor:
        return x[indices]

    @staticmethod
    def symbolic(g: Any, x: Any, indices: Any) -> Any:
        return g.op("Gather", x, indices, axis_i=0)


class PagedAttention(nn.Module):
    """Attention of B sequences of up to C new tokens each, laid flat in T rows, over a cache of blocks.

    Inputs: q [T, H*hs]; k, v [T, KH*hs]; key and value cache [blocks, KH, block tokens, hs]; `write` [T, KH, 3] where
    each token's key heads go in the cache; `blocks` [B, NB], each sequence's blocks, padded; `spread` [B, C], the rows
    of each sequence's tokens, padded; `collect` [T], each row's place among B*C; then for each distinct window a mask
    [B, 1, C, NB*block tokens]. Keeps the two caches.
    """

    def __init__(self, shape: AttentionShape, window_index: int) -> None:
        super().__init__()
        self.shape, self.window_index = shape, window_index
        self.group = shape.head_count // shape.kv_head_count

    def _kept(self, cache: Tensor, write: Tensor, new: Tensor, blocks: Tensor) -> tuple[Tensor, Tensor]:
        """The cache with the new tokens, and the batch's part of it: [B, KH, S, hs]."""
        cache = _ScatterNd.apply(cache, write, reshape(new, -1, self.shape.kv_head_count, self.shape.head_size))  # type: ignore[no-untyped-call]
        read = _Gather.apply(cache, blocks).transpose(1, 2)  # type: ignore[no-untyped-call]
        return cache, reshape(read, 0, self.shape.kv_head_count, -1, self.shape.head_size)

    def forward(
        self,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        key_cache: Tensor,
        value_cache: Tensor,
        write: Tensor,
        blocks: Tensor,
        spread: Tensor,
        collect: Tensor,
        *masks: Tensor,
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        heads, kv_heads, size = self.shape.head_count, self.shape.kv_head_count, self.shape.head_size
        key_cache, keys = self._kept(key_cache, write, k, blocks)
        value_cache, values = self._kept(value_cache, write, v, blocks)
        queries = reshape(_Gather.apply(q * self.shape.scale, spread), 0, 0, heads, size).transpose(1, 2)  # type: ignore[no-untyped-call]
        # Heads that share a key head lie side by side, so [B, H, C] folds into [B, KH, G*C] without moving anything.
        queries = reshape(queries, 0, kv_heads, -1, size)
        mask = torch.cat([masks[self.window_index]] * self.group, dim=2)
        weights = torch.softmax(queries @ keys.transpose(2, 3) + mask, dim=-1)
        attended = reshape(weights @ values, 0, heads, -1, size).transpose(1, 2)
        attended = reshape(attended, -1, heads * size)
        return _Gather.apply(attended, collect), (key_cache, value_cache)  # type: ignore[no-untyped-call]
