"""Which exits to keep: each must save more than its head costs, and two or three together do most of the work.

Knows replayed inputs and costs in units of one block; knows no thresholds' promises (`certify.py`).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from adaptive.policy import ExitPolicy
from adaptive.profile import ExitProfile, profile_of
from adaptive.replay import Observations, all_scores, grid, outcome


@dataclass(frozen=True, slots=True)
class Kept:
    """Exits by number, what an input then costs on average in blocks, heads included, and the profile of depths."""

    exits: tuple[int, ...]
    cost_blocks: float
    profile: ExitProfile
    disagreement: float


def pays(profile: ExitProfile, depth: int, head_blocks: float) -> bool:
    """Whether P(exit | reached) exceeds head cost / remaining cost, costs in blocks."""
    return profile.exit_share(depth) > head_blocks / (profile.block_count - depth)


def mean_cost(profile: ExitProfile, depths: Sequence[int], head_blocks: float) -> float:
    """Blocks and heads that an average input pays for."""
    survival = profile.survival()
    return profile.mean_depth + head_blocks * sum(survival[depth - 1] for depth in depths)


def keep_exits(
    policy: ExitPolicy, seen: Observations, head_blocks: float, most_disagreement: float, most_exits: int = 3
) -> Kept:
    """The cheapest set of at most `most_exits` exits at a threshold whose disagreement here is within bounds.

    Each exit kept pays for its head; an empty set is full depth.
    """
    full = Kept((), float(seen.block_count), profile_of([seen.block_count] * len(seen), seen.block_count), 0.0)
    numbers = range(len(seen.depths))
    found = kept_sets(policy, seen, numbers, head_blocks, most_disagreement, most_exits)
    return min((full, *found), key=lambda kept: kept.cost_blocks)


def kept_sets(
    policy: ExitPolicy,
    seen: Observations,
    candidates: Sequence[int],
    head_blocks: float,
    most_disagreement: float,
    most_exits: int = 3,
) -> Iterator[Kept]:
    """Every set of one to `most_exits` of the exits number `candidates` of which each pays, as `keep_exits` finds it.

    Of thresholds within bounds the lowest is the cheapest wherever the blocks run, for no input then goes deeper.
    """
    for size in range(1, most_exits + 1):
        for exits in combinations(candidates, size):
            found = kept_at(policy, seen, exits, head_blocks, most_disagreement)
            if found is not None:
                yield found


def kept_at(
    policy: ExitPolicy, seen: Observations, exits: tuple[int, ...], head_blocks: float, most: float
) -> Kept | None:
    """Just these exits at their cheapest threshold of a disagreement up to `most`; None where one does not pay."""
    scores = all_scores(policy, seen, exits)
    best: Kept | None = None
    depths = [seen.depths[index] for index in exits]
    for limit in grid(scores):
        after = outcome(scores, limit, seen)
        if after.disagreement > most:
            break
        profile = profile_of(np.asarray(after.depths).tolist(), seen.block_count)
        cost = mean_cost(profile, depths, head_blocks)
        if all(pays(profile, depth, head_blocks) for depth in depths) and (best is None or cost < best.cost_blocks):
            best = Kept(exits, cost, profile, after.disagreement)
    return best
