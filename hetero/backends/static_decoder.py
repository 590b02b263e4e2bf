"""A slice of decoder blocks for devices that want every shape fixed: chunks of C tokens, B sequences, S cache slots.

Knows torch modules and their inputs' names and shapes; knows no engine, no cache (`static_slots.py`) and not how a
ragged batch is cut into chunks (`static_layout.py`). Every backend whose device wants static shapes can export it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from hetero.models.config import DecoderConfig
from hetero.models.decoder import AttentionFactory, AttentionShape, DecoderBlocks


@dataclass(frozen=True, slots=True)
class StaticShape:
    """One compiled form: `rows` sequences of `chunk` new tokens each, against `slots` cached tokens."""

    rows: int
    chunk: int
    slots: int

    @property
    def tokens(self) -> int:
        return self.rows * self.chunk


def distinct_windows(config: DecoderConfig, first: int, last: int) -> tuple[int, ...]:
    """The sliding windows of blocks [first, last), each once, in ascending order; 0 is full attention."""
    return tuple(sorted(set(config.sliding_windows[first:last])))


class SlotAttention(nn.Module):
    """Attention of a chunk over the cached tokens and itself; the mask hides unused slots, the future and padding.

    Inputs: q [B*C, H*hs]; k, v [B*C, KH*hs]; past keys and values [B, KH, S, hs]; one mask [B, 1, G*C, S+C] for each
    distinct window, G = H/KH query heads sharing a key head (query g*C+c is head g's of token c). Keeps the new
    keys and values as [B, KH, C, hs].
    """

    def __init__(self, shape: AttentionShape, window_index: int) -> None:
        super().__init__()
        self.shape = shape
        self.window_index = window_index

    def _heads(self, x: Tensor, rows: int, heads: int) -> Tensor:
        return x.reshape(rows, -1, heads, self.shape.head_size).transpose(1, 2)

    def forward(
        self, q: Tensor, k: Tensor, v: Tensor, past_k: Tensor, past_v: Tensor, *masks: Tensor
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        rows, kv_heads, head_size = past_k.shape[0], self.shape.kv_head_count, self.shape.head_size
        new_k, new_v = self._heads(k, rows, kv_heads), self._heads(v, rows, kv_heads)
        queries = self._heads(q * self.shape.scale, rows, self.shape.head_count)
        queries = queries.reshape(rows, kv_heads, -1, head_size)
        keys, values = torch.cat([past_k, new_k], dim=2), torch.cat([past_v, new_v], dim=2)
        scores = queries @ keys.transpose(2, 3) + masks[self.window_index]
        attended = torch.softmax(scores, dim=-1) @ values
        attended = attended.reshape(rows, self.shape.head_count, -1, head_size).transpose(1, 2)
        return attended.reshape(q.shape[0], -1), (new_k, new_v)


def slot_attention(windows: Sequence[int]) -> AttentionFactory:
    """Makes the attention of blocks whose masks are given in the order of `windows`."""
    return lambda shape: SlotAttention(shape, list(windows).index(shape.sliding_window))


class StaticDecoder(nn.Module):
    """`DecoderBlocks` with flat inputs and outputs, as exporters want them; names in `input_names`, `output_names`."""

    def __init__(self, blocks: DecoderBlocks, windows: Sequence[int]) -> None:
        super().__init__()
        self.blocks = blocks
        self.windows = tuple(windows)
        self.block_count = len(blocks.blocks)

    @property
    def input_names(self) -> list[str]:
        masks = [f"mask_{window}" for window in self.windows]
        return ["hidden", "cos", "sin", *masks, *(f"past_{a}{i}" for i in range(self.block_count) for a in "kv")]

    @property
    def output_names(self) -> list[str]:
        return ["output", *(f"new_{a}{i}" for i in range(self.block_count) for a in "kv")]

    def forward(self, hidden: Tensor, cos: Tensor, sin: Tensor, *inputs: Tensor) -> tuple[Tensor, ...]:
        masks, past = inputs[: len(self.windows)], inputs[len(self.windows) :]
        pairs = [past[2 * i : 2 * i + 2] for i in range(self.block_count)]
        output, kept = self.blocks(hidden, cos, sin, pairs, masks)
        return output, *kept


def example_inputs(
    config: DecoderConfig, shape: StaticShape, windows: Sequence[int], blocks: int, dtype: torch.dtype
) -> tuple[Tensor, ...]:
    """Zeros of the shapes that `StaticDecoder` takes, in the order of its `input_names`."""
    group = config.head_count // config.kv_head_count
    rotary = torch.zeros(shape.tokens, config.head_size, dtype=dtype)
    mask = torch.zeros(shape.rows, 1, group * shape.chunk, shape.slots + shape.chunk, dtype=dtype)
    past = torch.zeros(shape.rows, config.kv_head_count, shape.slots, config.head_size, dtype=dtype)
    hidden = torch.zeros(shape.tokens, config.hidden_size, dtype=dtype)
    return hidden, rotary, rotary, *[mask] * len(windows), *[past] * (2 * blocks)
