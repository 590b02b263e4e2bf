"""Trains a backbone together with its heads: early layers learn to answer, which a frozen backbone's do not.

The embedding stays as it is. The loss is the last head's, and for each exit the label and the last head's answer. Knows
torch; writes nothing (`export.py` does).
"""

from collections.abc import Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from hetero.batch import LongArray
from hetero.exits.network import ExitingEncoder, Rows, like_lengths
from hetero.exits.training import Tell, check_depths, labelled_loss
from hetero.models.config import EncoderConfig

_BATCH = 32
_BACKBONE_RATE, _HEAD_RATE = 1e-4, 5e-4
_WARM_UP_SHARE = 0.1
_DROPOUT = 0.1


def train_jointly(
    folder: Path,
    config: EncoderConfig,
    rows: Rows,
    labels: LongArray,
    classes: int,
    depths: Sequence[int],
    tell: Tell,
    epochs: int = 3,
    seed: int = 0,
) -> ExitingEncoder:
    """The encoder in `folder`, fine-tuned with heads at `depths` on labelled texts; the last head learned with it.

    Raises ModelError or InvalidRequestError.
    """
    torch.manual_seed(seed)
    network = ExitingEncoder(folder, config, check_depths(config, depths), classes, _DROPOUT).train()
    network.requires_grad_(True)
    targets = torch.from_numpy(labels)
    steps = epochs * -(-len(labels) // _BATCH)
    optimiser, schedule = _optimiser(network, steps)
    done = 0
    for epoch in range(epochs):
        right = torch.zeros(len(network.depths) + 1)
        seen = 0
        for batch in like_lengths(rows, _BATCH, seed + epoch):
            right += _step(network, rows.take(batch), targets[batch], optimiser)
            seen += len(batch)
            schedule.step()
            done += 1
            tell(done, steps, f"epoch {epoch + 1}: {float(right[-1]) / seen:.1%} right")
    network.eval().requires_grad_(False)
    return network


def _step(network: ExitingEncoder, rows: Rows, targets: Tensor, optimiser: torch.optim.Optimizer) -> Tensor:
    """One update; how many of the texts each exit and the last head got right [E + 1]."""
    hidden, mask = network.embed(rows)
    # Half the time where the processor has bf16 arithmetic; norms and losses stay in fp32.
    with torch.autocast("cpu", torch.bfloat16):
        pooled, final = network(hidden, mask)
        exits = [head(each) for head, each in zip(network.heads, pooled, strict=True)]
    final, exits = final.float(), [each.float() for each in exits]
    loss = F.cross_entropy(final, targets)
    loss = loss + sum(labelled_loss(each, final, targets) for each in exits) / max(1, len(exits))
    optimiser.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
    optimiser.step()
    return torch.stack([(each.argmax(1) == targets).float().sum() for each in (*exits, final)]).detach()


def _optimiser(
    network: ExitingEncoder, steps: int
) -> tuple[torch.optim.Optimizer, torch.optim.lr_scheduler.LRScheduler]:
    heads = [*network.heads.parameters(), *network.final.parameters()]
    groups = [
        {"params": list(network.blocks.parameters()), "lr": _BACKBONE_RATE},
        {"params": heads, "lr": _HEAD_RATE},
    ]
    optimiser = torch.optim.AdamW(groups, weight_decay=0.01)
    warm = max(1, int(steps * _WARM_UP_SHARE))
    return optimiser, torch.optim.lr_scheduler.LambdaLR(
        optimiser, lambda step: min((step + 1) / warm, max(0.0, (steps - step) / max(1, steps - warm)))
    )
