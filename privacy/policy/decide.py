"""What a policy says to a request: a pure function with Cedar's semantics.

What no rule permits is denied, and one rule that forbids wins over all that permit, in whatever order they stand
(https://docs.cedarpolicy.com/auth/authorization.html). Spends nothing, asks no clock and sees no content.
"""

from privacy.policy.types import Effect, Policy, Rule
from privacy.types import Ask, Decision, Protection

#: What must come how, said to who sent it otherwise.
_COMES: dict[Protection, str] = {
    Protection.NONE: "in the clear",
    Protection.OUTPUT_DP: "in the clear",
    Protection.LOCAL_DP: "with noise that the client added",
    Protection.ENCRYPTED: "encrypted",
}


def decide(policy: Policy, ask: Ask, decision_id: str) -> Decision:
    """Whether the request is permitted, and what must be done with it then. Never raises for a well-typed `ask`.

    A denial's reason names tenants, models and rules, which the policy's author chose, and nothing of the request's
    content; whether it may be told to the asker is the caller's to say.
    """
    tenant, model = ask.principal.tenant, ask.model
    if tenant not in policy.tenants:
        return _denied(policy, decision_id, f"the policy knows no tenant {tenant!r}")
    if model not in policy.models:
        return _denied(policy, decision_id, f"the policy knows no model {model!r}")
    if not _plausible(ask):
        return _denied(policy, decision_id, "a request is for a whole number of tokens or vectors, at least one")
    covering = [rule for rule in policy.rules if rule.covers(tenant, model, ask.method)]
    matching = [rule for rule in covering if ask.arrives in rule.arrives]
    names = tuple(rule.name for rule in matching)
    if forbids := [rule for rule in matching if rule.effect is Effect.FORBID]:
        return _denied(policy, decision_id, _forbidden(forbids[0]), _first(forbids[0], names))
    if not matching:
        return _denied(policy, decision_id, _unpermitted(covering, ask))
    return _permitted(policy, ask, decision_id, matching[0], names)


def _plausible(ask: Ask) -> bool:
    return type(ask.count) is int and ask.count > 0


def _denied(policy: Policy, decision_id: str, reason: str, rules: tuple[str, ...] = ()) -> Decision:
    return Decision(decision_id, False, reason, rules, policy_revision=policy.revision)


def _forbidden(rule: Rule) -> str:
    return f"rule {rule.name!r} forbids it" + (f": {rule.why}" if rule.why else "")


def _first(rule: Rule, names: tuple[str, ...]) -> tuple[str, ...]:
    return (rule.name, *(name for name in names if name != rule.name))


def _unpermitted(covering: list[Rule], ask: Ask) -> str:
    """Nothing matched; where a permit wants only another wrapping, say which."""
    for rule in covering:
        if rule.effect is Effect.PERMIT:
            return (
                f"rule {rule.name!r} permits {ask.method.value} only {_COMES[rule.protection]}, and it came "
                f"{_COMES[ask.arrives]}"
            )
    return f"no rule permits {ask.principal.tenant!r} to {ask.method.value} with {ask.model!r}"


def _permitted(policy: Policy, ask: Ask, decision_id: str, rule: Rule, names: tuple[str, ...]) -> Decision:
    account = rule.budget.account(ask.principal.tenant, ask.principal.data_subject, ask.model) if rule.budget else None
    return Decision(
        decision_id=decision_id,
        allowed=True,
        reason=f"rule {rule.name!r} permits it" + (f": {rule.why}" if rule.why else ""),
        rules=names,
        policy_revision=policy.revision,
        protection=rule.protection,
        guarantee=rule.guarantee,
        mechanism=rule.mechanism,
        account=account,
        side_channels=rule.side_channels,
        may_log=rule.may_log,
    )
