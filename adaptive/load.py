"""What blocks cost once inputs leave early, for whoever places them: survival, and what filling missing KV costs.

    load_k = c_k * (S_k + (1 - S_k) * beta_k) + S_k * head_k

Plain survival would make deep stages too small where left-out layers must still be given their keys and values. Knows
costs and shares; knows no devices.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from adaptive.errors import AdaptiveError
from adaptive.profile import ExitProfile


class KvRule(StrEnum):
    """How layers that an input skips come by its keys and values."""

    NONE = "none"
    EVICT = "evict"
    STATE_COPY = "state-copy"
    DEFERRED_BATCH = "deferred-batch"
    PIPELINED = "pipelined"
    VERIFY = "verify"


@dataclass(frozen=True, slots=True)
class KvCosts:
    """`projection_share`: of a block's cost that its key and value projections are (state copy). `deferred`: tokens
    filled at a time. `memory_bound`: the share of a block's time that reading weights takes, which a deferred batch
    pays once. `drafts_per_token`: tokens verified for each that is kept.
    """

    projection_share: float = 0.166
    deferred: int = 8
    memory_bound: float = 1.0
    drafts_per_token: float = 1.0


def fill_share(rule: KvRule, costs: KvCosts | None = None) -> float:
    """beta: what an input that has left still costs a block, as a share of the block's full cost."""
    costs = costs or KvCosts()
    if rule in (KvRule.NONE, KvRule.EVICT):
        return 0.0
    if rule is KvRule.STATE_COPY:
        return costs.projection_share
    if rule is KvRule.DEFERRED_BATCH:
        return costs.memory_bound / max(1, costs.deferred) + (1 - costs.memory_bound)
    return max(1.0, costs.drafts_per_token) if rule is KvRule.VERIFY else 1.0


def survival_weights(profile: ExitProfile, rule: KvRule, costs: KvCosts | None = None) -> tuple[float, ...]:
    """For each block, what its cost is to be multiplied by: S_k + (1 - S_k) * beta."""
    beta = fill_share(rule, costs)
    return tuple(share + (1 - share) * beta for share in profile.survival())


def stage_load(
    first: int,
    last: int,
    block_seconds: Sequence[float],
    weights: Sequence[float],
    survival: Sequence[float] = (),
    head_seconds: Mapping[int, float] | None = None,
) -> float:
    """Seconds that blocks [first, last) take of an average input: weighted blocks, and the heads of exits among them.

    `head_seconds`: by depth, asked of every input that reaches block depth - 1. Raises AdaptiveError where the lengths
    differ.
    """
    if len(block_seconds) != len(weights) or not 0 <= first < last <= len(weights):
        raise AdaptiveError(f"blocks {first}-{last} are no range of {len(weights)} blocks with a weight each")
    blocks = sum(block_seconds[index] * weights[index] for index in range(first, last))
    reached = survival or weights
    heads = head_seconds or {}
    return blocks + sum(seconds * reached[depth - 1] for depth, seconds in heads.items() if first < depth <= last)
