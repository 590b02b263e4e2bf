"""An exit's head: what the model would answer, guessed from the hidden states at one depth. Numpy, on the host.

A head sees a text's first token and the mean of its tokens: early in an encoder the first token has gathered little.
Knows arrays; knows neither files (`storage.py`) nor training.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from hetero.batch import FloatArray, LongArray

#: The tensors of one head, and their shapes by hidden size D, inner size H and classes C.
TENSORS = ("inner.weight", "inner.bias", "out.weight", "out.bias")


@dataclass(frozen=True, slots=True)
class ExitHead:
    """`inner`: [H, 2D] and [H], `out`: [C, H] and [C], float32: linear, tanh, linear over both pooled vectors."""

    depth: int
    inner_weight: FloatArray
    inner_bias: FloatArray
    out_weight: FloatArray
    out_bias: FloatArray

    def logits(self, pooled: FloatArray) -> FloatArray:
        """Class logits float32 [B, C] of `pool`'s [B, 2D]."""
        # In this order: for a few rows numpy's other product takes up to twice as long.
        inner = np.tanh((self.inner_weight @ pooled.T).T + self.inner_bias)
        logits: FloatArray = inner @ self.out_weight.T + self.out_bias
        return logits

    @property
    def flops_per_text(self) -> int:
        return 2 * (self.inner_weight.size + self.out_weight.size)


def pool(hidden: FloatArray, attention_mask: LongArray) -> FloatArray:
    """The first token's state and the mean of all, float32 [B, 2D], of hidden [B, L, D] and mask [B, L]."""
    mask = attention_mask.astype(np.float32)
    mean = np.matmul(mask[:, None, :], hidden)[:, 0] / np.maximum(mask.sum(axis=1, keepdims=True), 1.0)
    return np.concatenate([hidden[:, 0], mean], axis=1)


def cosine(first: FloatArray, second: FloatArray) -> FloatArray:
    """The cosine between the rows of two arrays [B, K], float32 [B]."""
    norms = np.linalg.norm(first, axis=1) * np.linalg.norm(second, axis=1)
    found: FloatArray = np.einsum("bk,bk->b", first, second) / np.maximum(norms, 1e-12)
    return found


def head_of(depth: int, tensors: Mapping[str, FloatArray]) -> ExitHead:
    """The head at `depth` out of its TENSORS by name."""
    return ExitHead(depth, *(np.ascontiguousarray(tensors[name], np.float32) for name in TENSORS))
