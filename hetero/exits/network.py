"""An encoder with a head at every exit, in torch, for training: the runtime's own blocks, and the heads' twins.

Knows modules and how their parameters are named; knows neither data nor optimisers (`training.py`, `joint.py`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from adaptive.replay import Observations
from hetero.batch import LongArray
from hetero.exits.heads import ExitHead, cosine
from hetero.models.config import EncoderConfig
from hetero.models.embedding import EncoderEmbedding, load_encoder_embedding
from hetero.models.encoder_head import ClassificationHead, load_encoder_head
from hetero.models.loading import load_encoder_blocks

#: An exit's head is no wider than this: while it computes, on one core, the engine waits.
_WIDEST = 128
#: Added to the scores of padding.
_UNSEEN = -1e4


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """Tokenised texts, each int64 [N, L], padded on the right."""

    token_ids: LongArray
    mask: LongArray
    types: LongArray

    def take(self, rows: LongArray) -> "Rows":
        """These rows, cut to the longest of them."""
        longest = int(self.mask[rows].sum(axis=1).max())
        return Rows(self.token_ids[rows, :longest], self.mask[rows, :longest], self.types[rows, :longest])


class HeadNetwork(nn.Module):
    """The twin of `heads.ExitHead`: pooled [B, 2D] to logits [B, C]."""

    def __init__(self, hidden_size: int, classes: int, dropout: float = 0.0) -> None:
        super().__init__()
        inner = min(hidden_size, _WIDEST)
        self.inner = nn.Linear(2 * hidden_size, inner)
        self.out = nn.Linear(inner, classes)
        self.dropout = nn.Dropout(dropout)

    def forward(self, pooled: Tensor) -> Tensor:
        logits: Tensor = self.out(self.dropout(torch.tanh(self.inner(self.dropout(pooled)))))
        return logits

    def frozen(self, depth: int) -> ExitHead:
        """The trained numbers, for the runtime."""
        parts = (self.inner.weight, self.inner.bias, self.out.weight, self.out.bias)
        return ExitHead(depth, *(part.detach().float().numpy().copy() for part in parts))


class FinalHead(nn.Module):
    """The classification head at full depth, as `encoder_head.ClassificationHead` computes it."""

    def __init__(self, config: EncoderConfig, classes: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.distil = config.family == "distilbert"
        self.dense = nn.Linear(config.hidden_size, config.hidden_size)
        self.out = nn.Linear(config.hidden_size, classes)
        self.dropout = nn.Dropout(dropout)

    def forward(self, hidden: Tensor) -> Tensor:
        inner = self.dense(hidden[:, 0])
        inner = torch.relu(inner) if self.distil else torch.tanh(inner)
        logits: Tensor = self.out(self.dropout(inner))
        return logits


class ExitingEncoder(nn.Module):
    """Blocks, the head at full depth and one at each of `depths`. The embedding stays as it is, on the host."""

    def __init__(
        self, folder: Path, config: EncoderConfig, depths: Sequence[int], classes: int, dropout: float
    ) -> None:
        super().__init__()
        self.depths = tuple(depths)
        self.embedding: EncoderEmbedding = load_encoder_embedding(folder, config)
        self.blocks = load_encoder_blocks(folder, config, 0, config.block_count, torch.float32).blocks
        self.final = FinalHead(config, classes, dropout)
        self.heads = nn.ModuleList(HeadNetwork(config.hidden_size, classes, dropout) for _ in self.depths)
        self.dropout = nn.Dropout(dropout)
        head = load_encoder_head(folder, config)
        if isinstance(head, ClassificationHead):
            self.final.load_state_dict({name: torch.from_numpy(array) for name, array in head.parameters.items()})

    def frozen_heads(self) -> tuple[ExitHead, ...]:
        """The exits' heads, for the runtime."""
        trained = [head for head in self.heads if isinstance(head, HeadNetwork)]
        return tuple(head.frozen(depth) for depth, head in zip(self.depths, trained, strict=True))

    def embed(self, rows: Rows) -> tuple[Tensor, Tensor]:
        """Hidden states [B, L, D] entering the first block, and the mask [B, L]."""
        hidden = self.embedding.rows(rows.token_ids, rows.mask, rows.types)
        return torch.from_numpy(np.ascontiguousarray(hidden, np.float32)), torch.from_numpy(rows.mask).float()

    def forward(self, hidden: Tensor, mask: Tensor) -> tuple[list[Tensor], Tensor]:
        """(each exit's pooled vectors [B, 2D], the final logits [B, C])."""
        pooled: list[Tensor] = []
        unseen = ((1 - mask) * _UNSEEN)[:, None, None]
        hidden = self.dropout(hidden)
        for depth, block in enumerate(self.blocks, 1):
            hidden = self.dropout(block(hidden, unseen.to(hidden.dtype)))
            if depth in self.depths:
                pooled.append(pool(hidden, mask))
        return pooled, self.final(hidden)


def observe(network: ExitingEncoder, rows: Rows, batch: int = 64) -> Observations:
    """Every exit of a network in evaluation mode on every text, in their order; saturation as stages compute it."""
    shape = (len(rows.mask), len(network.depths), network.final.out.out_features)
    logits, saturation = np.zeros(shape, np.float32), np.zeros(shape[:2], np.float32)
    final = np.zeros((shape[0], shape[2]), np.float32)
    order = np.argsort(rows.mask.sum(axis=1), kind="stable")
    with torch.inference_mode():
        for chosen in np.split(order, range(batch, len(order), batch)):
            pooled, last = network(*network.embed(rows.take(chosen)))
            final[chosen] = last.numpy()
            for index, (head, each) in enumerate(zip(network.heads, pooled, strict=True)):
                logits[chosen, index] = head(each).numpy()
                if index:
                    saturation[chosen, index] = cosine(pooled[index - 1].numpy(), each.numpy())
    return Observations(logits, saturation, final, network.depths, len(network.blocks))


def pool(hidden: Tensor, mask: Tensor) -> Tensor:
    """`heads.pool` in torch."""
    weights = mask.to(hidden.dtype)
    mean = torch.einsum("bld,bl->bd", hidden, weights) / weights.sum(1, keepdim=True).clamp(min=1)
    return torch.cat([hidden[:, 0], mean], dim=1)


def distillation(logits: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """KL(teacher || head) at a temperature, times its square (Hinton et al. 2015)."""
    wanted = F.softmax(teacher / temperature, dim=-1)
    found = F.log_softmax(logits / temperature, dim=-1)
    return F.kl_div(found, wanted, reduction="batchmean") * temperature**2


def like_lengths(rows: Rows, batch: int, seed: int) -> list[LongArray]:
    """Batches of texts of like length, in random order: little is padded."""
    random = np.random.default_rng(seed)
    order = np.argsort(rows.mask.sum(axis=1) + random.uniform(0, 4, len(rows.mask)), kind="stable")
    batches = [order[begin : begin + batch] for begin in range(0, len(order), batch)]
    random.shuffle(batches)
    return batches
