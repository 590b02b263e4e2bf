"""What a policy would have done with inputs whose every exit was observed: depths, answers and losses by threshold.

The stages of a pipeline decide by the same `ExitPolicy`. Knows observations; knows no pipeline.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from adaptive.measures import Floats, answers
from adaptive.policy import NEVER, ExitPolicy, ExitView

Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Observations:
    """N inputs at full depth, with what each of E exits saw on the way.

    `logits`: float [N, E, C]. `saturation`: float [N, E]. `final`: float [N, C]. `depths`: of the exits.
    `block_count`: of the model.
    """

    logits: NDArray[np.floating]
    saturation: NDArray[np.floating]
    final: NDArray[np.floating]
    depths: tuple[int, ...]
    block_count: int

    def __len__(self) -> int:
        return len(self.final)

    @property
    def full_answers(self) -> Ints:
        return answers(self.final)

    @property
    def exit_answers(self) -> Ints:
        """int64 [N, E]."""
        return answers(self.logits)

    def agreement(self) -> NDArray[np.bool_]:
        """Where an exit's answer is the full one, [N, E]."""
        agrees: NDArray[np.bool_] = self.exit_answers == self.full_answers[:, None]
        return agrees

    def take(self, rows: NDArray[np.int64]) -> "Observations":
        return Observations(self.logits[rows], self.saturation[rows], self.final[rows], self.depths, self.block_count)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of N inputs: the depth [N] at which each ended, its answer [N], and whether it is another [N]."""

    depths: Ints
    answers: Ints
    disagrees: NDArray[np.bool_]

    @property
    def mean_depth(self) -> float:
        return float(self.depths.mean())

    @property
    def disagreement(self) -> float:
        return float(self.disagrees.mean())


def all_scores(policy: ExitPolicy, seen: Observations, asked: Sequence[int]) -> Floats:
    """The policy's scores [N, E]; exits that are not `asked` (by number) count as -infinity."""
    found = np.full(seen.logits.shape[:2], -np.inf)
    given = np.where(np.isin(np.arange(len(seen.depths)), list(asked)), seen.exit_answers, -1)
    for index in asked:
        view = ExitView(index, seen.logits[:, index], given[:, :index], seen.saturation[:, index])
        found[:, index] = policy.score(view)
    return found


def outcome(scores: Floats, limit: float | Floats, seen: Observations) -> Outcome:
    """Stop each input at the first exit whose score reaches its limit (one for all, or one an exit)."""
    stops = scores >= np.broadcast_to(np.asarray(limit, np.float64), scores.shape[1:])
    return stopped_at(np.where(stops.any(axis=1), stops.argmax(axis=1), len(seen.depths)), seen)


def stopped_at(exits: Ints, seen: Observations) -> Outcome:
    """The outcome where input n leaves at exit number `exits[n]`; the number of exits stands for full depth."""
    depths = np.array([*seen.depths, seen.block_count])[exits]
    said = np.concatenate([seen.exit_answers, seen.full_answers[:, None]], axis=1)
    chosen = said[np.arange(len(seen)), exits]
    return Outcome(depths, chosen, chosen != seen.full_answers)


def grid(scores: Floats, steps: int = 60) -> tuple[float, ...]:
    """Thresholds to test, the safest first: none stops at the first, about half of all scores reach the last.

    Denser at the safe end, where few inputs are let go at a time. Take the scores of other inputs than are tested.
    """
    finite = scores[np.isfinite(scores)]
    if not finite.size:
        return (NEVER,)
    shares = np.linspace(0.02, 0.98, steps) ** 1.5
    cuts = np.quantile(finite, 1 - shares)
    return (NEVER, *(float(cut) for cut in dict.fromkeys(cuts)))
