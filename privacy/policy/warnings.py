"""What a policy may say though it deserves a second look: weak numbers, leaks beside the guarantee, dead rules.

Each warning is one sentence. The thresholds of epsilon and delta are those that NIST SP 800-226 names as hazards
(https://csrc.nist.gov/pubs/sp/800/226/final).
"""

from collections.abc import Iterator
from itertools import combinations

from privacy.policy.budgets import overlap
from privacy.policy.types import Effect, Policy, Rule
from privacy.types import Owner, Protection

WEAK_EPSILON = 10.0
WEAK_DELTA = 1e-5


def warnings_of(policy: Policy) -> tuple[str, ...]:
    """All warnings, rule by rule, then those of the policy as a whole."""
    permits = [rule for rule in policy.rules if rule.effect is Effect.PERMIT]
    found = [f"rule {rule.name!r}: {text}" for rule in permits for text in (*_numbers(rule), *_leaks(rule))]
    return (
        *found,
        *_sums(permits),
        *_pools(policy, permits),
        *_bypasses(permits),
        *_dead(policy),
        *_idle(policy, permits),
        *_blind(policy, permits),
        *_issuers(policy),
    )


def _numbers(rule: Rule) -> Iterator[str]:
    guarantee = rule.guarantee
    if guarantee is None:
        return
    if guarantee.epsilon >= WEAK_EPSILON:
        yield f"epsilon {guarantee.epsilon:g} is {WEAK_EPSILON:g} or more, which may protect little"
    if guarantee.delta > WEAK_DELTA:
        yield f"delta {guarantee.delta:g} is above {WEAK_DELTA:g}; it should be far below one in the number of people"
    if guarantee.unit == "person-day":
        yield "the unit is a person's day: what is learnt of a person over many days is not bounded"
    if guarantee.unit == "request":
        yield "the unit is one request: what is learnt of a person over many requests is not bounded"


def _leaks(rule: Rule) -> Iterator[str]:
    if rule.protection is Protection.NONE:
        return
    if rule.protection is not Protection.OUTPUT_DP:
        return
    if seen := sorted(rule.may_log & {"sizes", "times"}):
        yield f"logged {' and '.join(seen)} tell readers of the log of the input beside the guarantee"
    if not rule.side_channels.release_grid_seconds:
        yield "answers leave as soon as they are ready, and their time may tell; set `release_grid_seconds`"


def _sums(permits: list[Rule]) -> Iterator[str]:
    """Two budgets about one subject, before one observer: what is learnt adds up."""
    pairs: dict[tuple[str, str], None] = {}
    for first, second in combinations(permits, 2):
        one, other = first.budget, second.budget
        if one is None or other is None or one.name == other.name or not one.owner == other.owner == Owner.SUBJECT:
            continue
        if first.tenants is None or second.tenants is None or first.tenants & second.tenants:
            pairs[one.name, other.name] = None
    for name, other_name in pairs:
        yield f"the budgets {name!r} and {other_name!r} are of the same subjects: what both let out adds up"


def _pools(policy: Policy, permits: list[Rule]) -> Iterator[str]:
    """Caps on queries are for each tenant, and tenants may pool the answers."""
    for rule in permits:
        count = len(policy.tenants if rule.tenants is None else rule.tenants)
        if rule.budget is not None and rule.budget.owner is Owner.WEIGHTS and count > 1:
            yield (
                f"rule {rule.name!r}: its {count} tenants together may ask {count * rule.budget.rho_cap:.0f} queries; "
                "if they may pool the answers, keep that below the width of the layer"
            )


def _bypasses(permits: list[Rule]) -> Iterator[str]:
    datasets = [rule for rule in permits if rule.budget and rule.budget.owner is Owner.DATASET]
    for rule in permits:
        if rule.budget is not None and rule.budget.owner is Owner.DATASET:
            continue
        for other in datasets:
            if rule.protection in {Protection.NONE, Protection.OUTPUT_DP} and _same_models(rule, other):
                name = other.budget.name if other.budget else ""
                yield (
                    f"rule {rule.name!r} answers from a model of rule {other.name!r} without charging the dataset "
                    f"{name!r}; it must not be given that dataset's documents"
                )


def _same_models(first: Rule, second: Rule) -> bool:
    return first.models is None or second.models is None or not first.models.isdisjoint(second.models)


def _dead(policy: Policy) -> Iterator[str]:
    forbids = [rule for rule in policy.rules if rule.effect is Effect.FORBID]
    for rule in policy.rules:
        for forbid in forbids if rule.effect is Effect.PERMIT else ():
            if overlap(rule, forbid) and _within(rule, forbid):
                yield f"rule {rule.name!r} never permits anything: {forbid.name!r} forbids all of it"


def _within(inner: Rule, outer: Rule) -> bool:
    pairs = ((inner.tenants, outer.tenants), (inner.models, outer.models), (inner.methods, outer.methods))
    return inner.arrives <= outer.arrives and all(
        wide is None or (narrow is not None and narrow <= wide) for narrow, wide in pairs
    )


def _idle(policy: Policy, permits: list[Rule]) -> Iterator[str]:
    if any(rule.tenants is None for rule in permits):
        return
    served = frozenset().union(*(rule.tenants or () for rule in permits))
    for tenant in sorted(policy.tenants - served):
        yield f"the tenant {tenant!r} is permitted nothing"


def _blind(policy: Policy, permits: list[Rule]) -> Iterator[str]:
    clear = any(Protection.NONE in rule.arrives for rule in permits)
    if clear and not any("raw-tokens" in each.may_see for each in policy.devices):
        yield "no device may see raw tokens, so that no model that reads text can be placed"


def _issuers(policy: Policy) -> Iterator[str]:
    """With several issuers, each should vouch for its own tenants only."""
    for each in policy.identity.jwt if len(policy.identity.jwt) > 1 else ():
        if each.tenants is None:
            yield f"the issuer {each.issuer!r} is one of several and may vouch for every tenant; name its `tenants`"
