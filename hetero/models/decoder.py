"""The one definition of a decoder's layers, in torch; every backend compiles slices of it.

Tokens of all sequences lie one after another: hidden states are [T, D]. Attention is a marker that each backend
realises, so nothing here knows how keys and values are kept. Token embedding and positions' tables live in
`embedding.py` and `rotary.py`: they are looked up on the host, so that a compiled slice sees only hidden states.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hetero.models.config import DecoderConfig

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "silu": F.silu,
    "gelu": F.gelu,
    "gelu_new": lambda x: F.gelu(x, approximate="tanh"),
    "gelu_pytorch_tanh": lambda x: F.gelu(x, approximate="tanh"),
    "relu": F.relu,
}


@dataclass(frozen=True, slots=True)
class AttentionShape:
    """What a backend must know to realise one block's attention.

    `sliding_window` w: a token attends to itself and the w - 1 tokens before it; 0: to all before it.
    """

    block_index: int
    head_count: int
    kv_head_count: int
    head_size: int
    scale: float
    sliding_window: int


#: Makes a block's attention. Its module's forward takes (q [T, H*hs], k [T, KH*hs], v [T, KH*hs], *inputs) and returns
#: (output [T, H*hs], kept): `inputs` are the backend's own (caches, block tables, masks), `kept` a tuple of tensors
#: that the backend wants back from the slice (new keys and values where the host keeps them, else empty).
AttentionFactory = Callable[[AttentionShape], nn.Module]


class RmsNorm(nn.Module):
    """Root mean square norm, in fp32 whatever the weights are, as `transformers` computes it."""

    def __init__(self, size: int, epsilon: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))
        self.epsilon = epsilon

    def forward(self, x: Tensor) -> Tensor:
        # No conversion is written into a graph where there is none to make.
        wide = x if x.dtype == torch.float32 else x.float()
        normed = wide * torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + self.epsilon)
        return self.weight * (normed if x.dtype == torch.float32 else normed.to(x.dtype))


def make_norm(config: DecoderConfig, size: int) -> nn.Module:
    if config.norm == "rms":
        return RmsNorm(size, config.norm_epsilon)
    return nn.LayerNorm(size, eps=config.norm_epsilon)


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotary positions in the half-split convention. x: [T, heads, hs]; cos, sin: [T, hs]."""
    half = x.shape[-1] // 2
    turned = torch.cat([-x[..., half:], x[..., :half]], dim=-1)
    return x * cos[:, None] + turned * sin[:, None]


class SelfAttention(nn.Module):
    def __init__(self, config: DecoderConfig, block_index: int, attention: AttentionFactory) -> None:
        super().__init__()
        self.config = config
        width, kv_width = config.head_count * config.head_size, config.kv_head_count * config.head_size
        self.q = nn.Linear(config.hidden_size, width, bias=config.qkv_bias)
        self.k = nn.Linear(config.hidden_size, kv_width, bias=config.qkv_bias)
        self.v = nn.Linear(config.hidden_size, kv_width, bias=config.qkv_bias)
        self.o = nn.Linear(width, config.hidden_size, bias=config.output_bias)
        if config.qk_norm:
            self.q_norm = RmsNorm(config.head_size, config.norm_epsilon)
            self.k_norm = RmsNorm(config.head_size, config.norm_epsilon)
        self.attention = attention(
            AttentionShape(
                block_index,
                config.head_count,
                config.kv_head_count,
                config.head_size,
                config.head_size**-0.5,
                config.sliding_windows[block_index],
            )
        )

    def _positioned(self, x: Tensor, heads: int, norm: str, cos: Tensor, sin: Tensor) -> Tensor:
        x = x.view(-1, heads, self.config.head_size)
        if self.config.qk_norm:
            x = getattr(self, norm)(x)
        if self.config.positions == "rotary":
            x = rotate(x, cos, sin)
        return x.reshape(-1, heads * self.config.head_size)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor, *inputs: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        q = self._positioned(self.q(x), self.config.head_count, "q_norm", cos, sin)
        k = self._positioned(self.k(x), self.config.kv_head_count, "k_norm", cos, sin)
        out, kept = self.attention(q, k, self.v(x), *inputs)
        return self.o(out), kept


class Mlp(nn.Module):
    def __init__(self, config: DecoderConfig) -> None:
        super().__init__()
        self.activation_name = config.activation
        self.activation = ACTIVATIONS[config.activation]
        self.gated = config.gated_mlp
        if self.gated:
            self.gate = nn.Linear(config.hidden_size, config.intermediate_size, bias=config.mlp_bias)
        self.up = nn.Linear(config.hidden_size, config.intermediate_size, bias=config.mlp_bias)
        self.down = nn.Linear(config.intermediate_size, config.hidden_size, bias=config.mlp_bias)

    def forward(self, x: Tensor) -> Tensor:
        inner = self.activation(self.gate(x)) * self.up(x) if self.gated else self.activation(self.up(x))
        out: Tensor = self.down(inner)
        return out


class DecoderBlock(nn.Module):
    def __init__(self, config: DecoderConfig, block_index: int, attention: AttentionFactory) -> None:
        super().__init__()
        self.attention_norm = make_norm(config, config.hidden_size)
        self.attention = SelfAttention(config, block_index, attention)
        self.mlp_norm = make_norm(config, config.hidden_size)
        self.mlp = Mlp(config)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor, *inputs: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        attended, kept = self.attention(self.attention_norm(x), cos, sin, *inputs)
        x = x + attended
        return x + self.mlp(self.mlp_norm(x)), kept


class DecoderBlocks(nn.Module):
    """Blocks [first, last). `per_block[i]` are the inputs of block first + i alone, `shared` those of all."""

    def __init__(self, config: DecoderConfig, first: int, last: int, attention: AttentionFactory) -> None:
        super().__init__()
        self.first = first
        self.blocks = nn.ModuleList(DecoderBlock(config, i, attention) for i in range(first, last))

    def forward(
        self, hidden: Tensor, cos: Tensor, sin: Tensor, per_block: Sequence[Sequence[Tensor]], shared: Sequence[Tensor]
    ) -> tuple[Tensor, list[Tensor]]:
        """hidden: [T, D]; cos, sin: [T, hs], ignored by models with learned positions. Returns (hidden, all kept)."""
        kept: list[Tensor] = []
        for block, own in zip(self.blocks, per_block, strict=True):
            hidden, new = block(hidden, cos, sin, *own, *shared)
            kept += new
        return hidden, kept


class DecoderHead(nn.Module):
    """The final norm and the vocabulary's projection: [R, D] to [R, V]."""

    def __init__(self, config: DecoderConfig) -> None:
        super().__init__()
        self.norm = make_norm(config, config.hidden_size)
        self.head = nn.Linear(config.hidden_size, config.vocabulary_size, bias=False)

    def forward(self, hidden: Tensor) -> Tensor:
        logits: Tensor = self.head(self.norm(hidden))
        return logits
