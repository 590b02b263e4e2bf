"""A task whose difficulty is known: follow k pointers. How deep exits go ought to rise with k.

A text is a shuffled list of pairs "a>b", each letter pointing to another, and a question: a letter, and how many hops
to follow from it. The answer is the letter that one comes to. Makes texts and trains a small encoder on them from
nothing; knows torch.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from adaptive.curves import oracle_exits
from adaptive.fitting import fit_policy
from adaptive.measures import Measure
from adaptive.policy import ExitPolicy
from adaptive.replay import Observations, all_scores, grid, outcome

Integers = np.ndarray[tuple[int, ...], np.dtype[np.int64]]


@dataclass(frozen=True, slots=True)
class Task:
    """How many letters there are, how many hops at most, and the encoder that is trained on them."""

    letters: int = 8
    hops: int = 3
    width: int = 48
    blocks: int = 6
    batch: int = 128
    steps: int = 2000


@dataclass(frozen=True, slots=True)
class Puzzles:
    """`tokens`: int64 [N, letters + 1, 2], pairs (letter, where it points), behind them the question (hops, letter).

    `answers`, `hops`: int64 [N].
    """

    tokens: Integers
    answers: Integers
    hops: Integers


def make_puzzles(task: Task, count: int, seed: int) -> Puzzles:
    """One cycle through all letters, so that no hop is ever a step back; random starts, 1 to `task.hops` hops."""
    random = np.random.default_rng(seed)
    letters = np.tile(np.arange(task.letters), (count, 1))
    cycle, order = random.permuted(letters, axis=1), random.permuted(letters, axis=1)
    targets = np.empty_like(cycle)
    np.put_along_axis(targets, cycle, np.roll(cycle, -1, axis=1), axis=1)
    places, hops = random.integers(0, task.letters, count), np.arange(count) % task.hops + 1
    every = np.arange(count)
    pairs = np.stack([order, np.take_along_axis(targets, order, axis=1)], axis=2)
    question = np.stack([task.letters + hops - 1, cycle[every, places]], axis=1)[:, None]
    answers = cycle[every, (places + hops) % task.letters]
    return Puzzles(np.concatenate([pairs, question], axis=1), answers, hops)


class PointerNetwork(nn.Module):
    """A small encoder over pairs; after each block one head, shared by all, answers from the question's place."""

    def __init__(self, task: Task) -> None:
        super().__init__()
        width, tokens = task.width, task.letters + task.hops
        self.first, self.second = nn.Embedding(tokens, width), nn.Embedding(tokens, width)
        self.blocks = nn.ModuleList(
            nn.TransformerEncoderLayer(width, 4, 2 * width, 0.0, "gelu", batch_first=True, norm_first=True)
            for _ in range(task.blocks)
        )
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, task.letters)

    def forward(self, tokens: Tensor) -> Tensor:
        """Class logits after each block, [N, blocks, letters]."""
        hidden = self.first(tokens[..., 0]) + self.second(tokens[..., 1])
        logits = []
        for block in self.blocks:
            hidden = block(hidden)
            logits.append(self.head(self.norm(hidden[:, -1])))
        return torch.stack(logits, dim=1)


def train_pointers(task: Task, seed: int, tell: Callable[[int, int, str], None]) -> PointerNetwork:
    """Train every exit on fresh puzzles."""
    torch.manual_seed(seed)
    network = PointerNetwork(task)
    optimiser = torch.optim.AdamW(network.parameters(), lr=1e-3, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 3e-3, task.steps)
    for step in range(1, task.steps + 1):
        puzzles = make_puzzles(task, task.batch, 10_000 + step)
        logits = network(torch.from_numpy(puzzles.tokens))
        wanted = torch.from_numpy(puzzles.answers)[:, None].expand(-1, task.blocks)
        loss = F.cross_entropy(logits.flatten(0, 1), wanted.flatten())
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        schedule.step()
        tell(step, task.steps, f"loss {loss.item():.3f}")
    return network.eval()


@dataclass(frozen=True, slots=True)
class HopDepths:
    """For each number of hops: accuracy at full depth, blocks run by the policy and by the oracle on average."""

    hops: int
    accuracy: float
    policy_depth: float
    oracle_depth: float


def depths_by_hops(task: Task, network: PointerNetwork, count: int = 4000, most: float = 0.01) -> list[HopDepths]:
    """Depths at the loosest threshold whose disagreement on other puzzles is at most `most`."""
    tuned = _observed(network, make_puzzles(task, count, 1))
    puzzles = make_puzzles(task, count, 2)
    seen = _observed(network, puzzles)
    fitted, every = fit_policy(tuned), range(len(tuned.depths))
    policy = ExitPolicy(Measure.MAXIMUM, fitted.depths, fitted.temperatures)
    scores = all_scores(policy, tuned, every)
    limit = [each for each in grid(scores) if outcome(scores, each, tuned).disagreement <= most][-1]
    after = outcome(all_scores(policy, seen, every), limit, seen)
    ideal = np.array([*seen.depths, seen.block_count])[oracle_exits(seen, every)]
    right = seen.full_answers == puzzles.answers
    return [
        HopDepths(hops, *(float(each[puzzles.hops == hops].mean()) for each in (right, after.depths, ideal)))
        for hops in range(1, task.hops + 1)
    ]


def _observed(network: PointerNetwork, puzzles: Puzzles) -> Observations:
    with torch.inference_mode():
        logits = network(torch.from_numpy(puzzles.tokens)).numpy()
    blocks = logits.shape[1]
    return Observations(
        logits[:, :-1], np.zeros((len(logits), blocks - 1)), logits[:, -1], tuple(range(1, blocks)), blocks
    )
