"""What rules must say together: one set of obligations for each request, one guarantee for each budget, costs that fit.

Knows rules as they are decided on. Asks the mechanisms what a release costs, and samples nothing.
"""

from collections.abc import Iterator
from itertools import combinations

from privacy.errors import MechanismError
from privacy.policy.complaints import Complaint
from privacy.policy.types import Effect, Rule
from privacy.types import Owner


def check_together(rules: tuple[Rule, ...]) -> Iterator[Complaint]:
    """Complaints about pairs of rules, at the later one."""
    permits = [(index, rule) for index, rule in enumerate(rules) if rule.effect is Effect.PERMIT]
    for (_, first), (index, second) in combinations(permits, 2):
        for check in (_two_obligations, _two_guarantees, _two_datasets, _two_caps):
            if text := check(first, second):
                yield Complaint(("rules", index), text)


def overlap(first: Rule, second: Rule) -> bool:
    """Whether some request would match both."""
    return (
        _meet(first.tenants, second.tenants)
        and _meet(first.models, second.models)
        and _meet(first.methods, second.methods)
        and _meet(first.arrives, second.arrives)
    )


def _meet(first: frozenset[str] | None, second: frozenset[str] | None) -> bool:
    return first is None or second is None or not first.isdisjoint(second)


def _two_obligations(first: Rule, second: Rule) -> str:
    if not overlap(first, second) or _obligations(first) == _obligations(second):
        return ""
    return (
        f"rules {first.name!r} and {second.name!r} permit the same requests and impose different things; make their "
        "tenants, models or methods disjoint"
    )


def _obligations(rule: Rule) -> tuple[object, ...]:
    imposed = (rule.protection, rule.guarantee, rule.mechanism, rule.budget)
    return (*imposed, rule.side_channels, rule.may_log)


def _two_guarantees(first: Rule, second: Rule) -> str:
    one, other = first.budget, second.budget
    if one is None or other is None or (one.owner, one.name) != (other.owner, other.name):
        return ""
    if first.guarantee == second.guarantee:
        return ""
    return (
        f"rules {first.name!r} and {second.name!r} charge one budget {one.name!r} and promise different guarantees; "
        "state the same one in both, or name two budgets"
    )


def _two_datasets(first: Rule, second: Rule) -> str:
    one, other = first.budget, second.budget
    if one is None or other is None or not one.owner == other.owner == Owner.DATASET or one.name == other.name:
        return ""
    if not _meet(first.models, second.models):
        return ""
    return (
        f"rules {first.name!r} and {second.name!r} charge different budgets for the documents behind one model; "
        "tenants may pool what they learn, so name one dataset in both"
    )


def _two_caps(first: Rule, second: Rule) -> str:
    one, other = first.budget, second.budget
    if one is None or other is None or not one.owner == other.owner == Owner.WEIGHTS:
        return ""
    if not (_meet(first.tenants, second.tenants) and _meet(first.models, second.models)):
        return ""
    if (one.rho_cap, one.lifetime) == (other.rho_cap, other.lifetime):
        return ""
    return (
        f"rules {first.name!r} and {second.name!r} cap the queries of one tenant to one model differently; they are "
        "counted together, so write the same `max_queries` and `lifetime` in both"
    )


def check_costs(rules: tuple[Rule, ...]) -> Iterator[Complaint]:
    """Complaints about mechanisms: unknown, of a kind that the methods cannot have, or dearer than the guarantee."""
    from privacy.mechanisms import check_mechanism

    for index, rule in enumerate(rules):
        if rule.mechanism is None or rule.methods is None:
            continue
        try:
            for method in sorted(rule.methods):
                check_mechanism(rule.mechanism, method)
            text = _too_dear(rule)
        except MechanismError as error:
            text = f"rule {rule.name!r}: the mechanism: {error}"
        if text:
            yield Complaint(("rules", index, "mechanism"), text)


def release_rho(rule: Rule) -> float:
    """What one release costs: one label, vector or token. 0 where the rule has no mechanism."""
    from privacy.mechanisms import mechanism_for

    return mechanism_for(rule.mechanism).charge(1).rho if rule.mechanism else 0.0


def _too_dear(rule: Rule) -> str:
    from privacy.ledger.accounting import epsilon_of_rho

    rho, budget, guarantee = release_rho(rule), rule.budget, rule.guarantee
    assert budget is not None and guarantee is not None, "a mechanism comes with a guarantee and a budget"
    # Not "greater": a cost that is no number must not pass.
    if rho <= budget.rho_cap:
        return ""
    return (
        f"rule {rule.name!r}: one release of {rule.mechanism and rule.mechanism.name} comes to epsilon "
        f"{epsilon_of_rho(rho, budget.delta):.3g} by zcdp at this delta, and the guarantee allows "
        f"{guarantee.epsilon:g}; add noise, or raise the guarantee's epsilon"
    )
