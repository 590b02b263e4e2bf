"""Joins projections of one input into one wider matrix: q, k and v; gate and up. The numbers stay the same.

At batch 1 a projection takes about as long as its weights take to be read, and starting one costs several microseconds
more; a GQA model's k and v are so small that two threads read them at half the speed. Knows torch modules alone.
"""

import torch
from torch import Tensor, nn

from hetero.models.decoder import DecoderBlocks, Mlp, SelfAttention


def widen(blocks: DecoderBlocks) -> DecoderBlocks:
    """Replace the projections in every block; the narrow ones are freed block by block."""
    for block in blocks.blocks:
        attention, mlp = block.attention, block.mlp
        if isinstance(attention, SelfAttention):
            block.attention = WideAttention(attention)
        if isinstance(mlp, Mlp) and mlp.gated:
            block.mlp = WideMlp(mlp)
    return blocks


class WideAttention(nn.Module):
    """`SelfAttention` with one projection in the place of three."""

    def __init__(self, narrow: SelfAttention) -> None:
        super().__init__()
        self.sizes = [narrow.q.out_features, narrow.k.out_features, narrow.v.out_features]
        self.qkv = _join(narrow.q, narrow.k, narrow.v)
        del narrow.q, narrow.k, narrow.v
        self.rest = narrow

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor, *inputs: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        q, k, v = self._apart(x, cos, sin) if self.rest.config.qk_norm else self._together(x, cos, sin)
        out, kept = self.rest.attention(q, k, v, *inputs)
        return self.rest.o(out), kept

    def _together(self, x: Tensor, cos: Tensor, sin: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """q, k and v, with q's and k's heads turned at once: every node of the graph costs time, however small."""
        config, (q_size, k_size, v_size) = self.rest.config, self.sizes
        qk, v = self.qkv(x).split([q_size + k_size, v_size], dim=-1)
        qk = self.rest._positioned(qk, config.head_count + config.kv_head_count, "", cos, sin)
        q, k = torch.split(qk, [q_size, k_size], dim=-1)
        return q, k, v

    def _apart(self, x: Tensor, cos: Tensor, sin: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """q, k and v where q and k have norms of their own."""
        config = self.rest.config
        q, k, v = self.qkv(x).split(self.sizes, dim=-1)
        q = self.rest._positioned(q, config.head_count, "q_norm", cos, sin)
        k = self.rest._positioned(k, config.kv_head_count, "k_norm", cos, sin)
        return q, k, v


class WideMlp(nn.Module):
    """A gated `Mlp` with one projection in the place of gate and up."""

    def __init__(self, narrow: Mlp) -> None:
        super().__init__()
        self.size = narrow.gate.out_features
        self.gate_up = _join(narrow.gate, narrow.up)
        self.down, self.activation = narrow.down, narrow.activation

    def forward(self, x: Tensor) -> Tensor:
        gate, up = self.gate_up(x).split(self.size, dim=-1)
        projected: Tensor = self.down(self.activation(gate) * up)
        return projected


def _join(*narrow: nn.Linear) -> nn.Linear:
    """One projection whose output is that of all `narrow`, one after another."""
    with torch.device("meta"):
        wide = nn.Linear(narrow[0].in_features, sum(linear.out_features for linear in narrow), False)
    wide.weight = nn.Parameter(torch.cat([linear.weight for linear in narrow]), requires_grad=False)
    if narrow[0].bias is not None:
        wide.bias = nn.Parameter(torch.cat([linear.bias for linear in narrow]), requires_grad=False)
    return wide
