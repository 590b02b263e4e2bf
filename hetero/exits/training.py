"""Trains exits on a frozen backbone: each head learns to say what the last one says, from the states at its depth.

Nothing of the model changes, so its answers at full depth stay what they are. No labels are needed. Knows torch.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from adaptive.replay import Observations
from hetero.errors import InvalidRequestError, ModelError
from hetero.exits.heads import ExitHead
from hetero.exits.network import ExitingEncoder, HeadNetwork, Rows, distillation, like_lengths, observe
from hetero.models.config import EncoderConfig

#: (steps done, steps in all, what is done now)
Tell = Callable[[int, int, str], None]
_BATCH = 64
_TEMPERATURE = 1.0
#: What the head's inner layer drops, so that it does not learn the training texts by heart.
_DROPOUT = 0.2


@dataclass(frozen=True, slots=True)
class Trained:
    """The heads in order of depth; what they say of texts held out, and how often each agrees with the last head."""

    heads: tuple[ExitHead, ...]
    agreement: tuple[float, ...]
    held_out: Observations


def check_depths(config: EncoderConfig, depths: Sequence[int]) -> tuple[int, ...]:
    """Raises InvalidRequestError unless `depths` rise and lie inside the model."""
    inside = all(0 < depth < config.block_count for depth in depths)
    if not depths or not inside or list(depths) != sorted(set(depths)):
        raise InvalidRequestError(
            f"exits at {', '.join(map(str, depths)) or 'no depth'}: they must rise and be from 1 to"
            f" {config.block_count - 1}, the depths inside a model of {config.block_count} blocks"
        )
    return tuple(depths)


def train_heads(
    folder: Path,
    config: EncoderConfig,
    rows: Rows,
    held_out: Rows,
    depths: Sequence[int],
    tell: Tell,
    epochs: int = 30,
    seed: int = 0,
) -> Trained:
    """Heads for the classifier in `folder`, distilled on `rows`. Raises ModelError or InvalidRequestError."""
    if not config.labels:
        raise ModelError(
            f"{folder} has no classification head to learn from; give a classifier, or labels and --train-backbone"
        )
    depths = check_depths(config, depths)
    torch.manual_seed(seed)
    network = ExitingEncoder(folder, config, depths, len(config.labels), 0.0).eval()
    batches = like_lengths(rows, _BATCH, seed)
    whole = len(batches) + epochs * len(depths)
    pooled, teacher = _observe(network, rows, batches, lambda done: tell(done, whole, "reading texts"))
    for index, depth in enumerate(depths):
        first = len(batches) + index * epochs
        head = _fit(pooled[index], teacher, epochs, _telling(tell, first, whole, f"exit {depth}"))
        network.heads[index] = head
    seen = observe(network, held_out)
    return Trained(network.frozen_heads(), tuple(float(share) for share in seen.agreement().mean(axis=0)), seen)


def _telling(tell: Tell, before: int, whole: int, text: str) -> Callable[[int], None]:
    return lambda done: tell(before + done, whole, text)


def _observe(
    network: ExitingEncoder,
    rows: Rows,
    batches: Sequence["np.ndarray[tuple[int, ...], np.dtype[np.int64]]"],
    tell: Callable[[int], None],
) -> tuple[list[Tensor], Tensor]:
    """Each exit's pooled vectors of all texts [N, 2D], and the final logits [N, C]."""
    seen: list[list[Tensor]] = [[] for _ in network.depths]
    finals: list[Tensor] = []
    with torch.inference_mode():
        for done, batch in enumerate(batches, 1):
            pooled, final = network(*network.embed(rows.take(batch)))
            for kept, each in zip(seen, pooled, strict=True):
                kept.append(each)
            finals.append(final)
            tell(done)
    # Out of inference mode, so that gradients may flow through what is computed of them.
    return [torch.cat(kept).clone() for kept in seen], torch.cat(finals).clone()


def _fit(pooled: Tensor, teacher: Tensor, epochs: int, tell: Callable[[int], None]) -> HeadNetwork:
    head = HeadNetwork(pooled.shape[1] // 2, teacher.shape[1], _DROPOUT)
    optimiser = torch.optim.AdamW(head.parameters(), lr=1e-3, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.LinearLR(optimiser, 1.0, 0.05, epochs)
    for epoch in range(1, epochs + 1):
        for rows in torch.split(torch.randperm(len(pooled)), _BATCH):
            loss = distillation(head(pooled[rows]), teacher[rows], _TEMPERATURE)
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
        schedule.step()
        tell(epoch)
    return head.eval()


def labelled_loss(logits: Tensor, teacher: Tensor, labels: Tensor) -> Tensor:
    """What an exit learns beside the backbone: the label, and what the last head says of it."""
    return F.cross_entropy(logits, labels) + distillation(logits, teacher.detach(), 2.0)
