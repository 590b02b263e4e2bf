"""The one definition of an encoder's layers (BERT, MiniLM, RoBERTa, DistilBERT), in torch; backends compile slices.

Batches are padded: hidden states are [B, L, D]. Embedding (`embedding.py`) and pooling or classification
(`encoder_head.py`) run on the host before the first and after the last slice.
"""

import torch.nn.functional as F
from torch import Tensor, nn

from hetero.models.config import EncoderConfig
from hetero.models.decoder import ACTIVATIONS


class EncoderBlock(nn.Module):
    """Post-norm transformer block. `mask`: additive float [B, 1, 1, L], 0 where attended, very negative where not."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        size = config.hidden_size
        self.head_count, self.head_size = config.head_count, size // config.head_count
        self.q, self.k, self.v, self.o = (nn.Linear(size, size) for _ in range(4))
        self.attention_norm = nn.LayerNorm(size, eps=config.norm_epsilon)
        self.up = nn.Linear(size, config.intermediate_size)
        self.down = nn.Linear(config.intermediate_size, size)
        self.mlp_norm = nn.LayerNorm(size, eps=config.norm_epsilon)
        self.activation = ACTIVATIONS[config.activation]

    def _heads(self, x: Tensor) -> Tensor:
        return x.view(x.shape[0], x.shape[1], self.head_count, self.head_size).transpose(1, 2)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        q, k, v = self._heads(self.q(x)), self._heads(self.k(x)), self._heads(self.v(x))
        attended = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        attended = attended.transpose(1, 2).reshape(x.shape)
        x = self.attention_norm(x + self.o(attended))
        out: Tensor = self.mlp_norm(x + self.down(self.activation(self.up(x))))
        return out


class EncoderBlocks(nn.Module):
    """Blocks [first, last)."""

    def __init__(self, config: EncoderConfig, first: int, last: int) -> None:
        super().__init__()
        self.first = first
        self.blocks = nn.ModuleList(EncoderBlock(config) for _ in range(first, last))

    def forward(self, hidden: Tensor, mask: Tensor) -> Tensor:
        for block in self.blocks:
            hidden = block(hidden, mask)
        return hidden
