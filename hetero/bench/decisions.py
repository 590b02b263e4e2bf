"""How long a policy takes to decide. Knows policies and asks; times nothing else.

measure_decisions(policy) -> DecisionTimes, by hand: hetero bench privacy
"""

import statistics
import time
from dataclasses import dataclass, replace
from itertools import product

from privacy.policy.decide import decide
from privacy.policy.types import Policy, Rule
from privacy.types import Ask, Method, Principal, Protection

#: Long enough that the clock's own cost does not count, short enough that a busy machine leaves some blocks alone.
BLOCK = 100


@dataclass(frozen=True, slots=True)
class DecisionTimes:
    """Seconds of one decision over all asks that the policy can tell apart: the median and the 99th percentile."""

    rules: int
    asks: int
    median_seconds: float
    p99_seconds: float


def measure_decisions(policy: Policy, rule_count: int | None = None, blocks: int = 200) -> DecisionTimes:
    """Time decisions on a policy, which is made as long as `rule_count` by rules that never match, where that is given.

    Rules that do not match stand before those that do: the worst order.
    """
    policy = _lengthened(policy, rule_count or len(policy.rules))
    asks = _asks(policy)
    seconds = sorted(_block(policy, asks, start) for start in range(blocks))
    return DecisionTimes(len(policy.rules), len(asks), statistics.median(seconds), seconds[int(0.99 * len(seconds))])


def _block(policy: Policy, asks: list[Ask], start: int) -> float:
    chosen = [asks[(start * BLOCK + offset) % len(asks)] for offset in range(BLOCK)]
    begun = time.perf_counter()
    for ask in chosen:
        decide(policy, ask, "measured")
    return (time.perf_counter() - begun) / BLOCK


def _asks(policy: Policy) -> list[Ask]:
    names = product(sorted(policy.tenants), sorted(policy.models), Method, Protection)
    return [Ask(Principal(tenant, "jwt", "subject"), model, method, way) for tenant, model, method, way in names]


def _lengthened(policy: Policy, rule_count: int) -> Policy:
    last = policy.rules[-1]
    unmatched = [_unmatched(last, index) for index in range(rule_count - len(policy.rules))]
    return replace(policy, rules=(*unmatched, *policy.rules))


def _unmatched(rule: Rule, index: int) -> Rule:
    """A rule that is looked at to its last scope, the method, and covers nothing."""
    return replace(rule, name=f"unmatched-{index}", tenants=None, models=None, methods=frozenset())
