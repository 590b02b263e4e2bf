"""From the policy's file, once its names and rules are in order, to the values that are decided on.

Knows the defaults: under DP or encryption the depth is constant and caches are salted by tenant. Computes each budget's
cap in rho from the guarantee's epsilon and delta.
"""

from collections.abc import Sequence
from pathlib import Path

from privacy.policy.checks import ANY, LOCAL
from privacy.policy.protections import METHODS
from privacy.policy.rules import GuaranteeModel, MechanismModel, RuleModel, SideChannelsModel
from privacy.policy.schema import DeviceModel, JwtModel, PolicyModel
from privacy.policy.types import (
    Budget,
    CertificateTenant,
    Clearance,
    Effect,
    Identity,
    JwtIssuer,
    Policy,
    Rule,
    State,
)
from privacy.types import Guarantee, MechanismSpec, Method, Owner, Protection, SideChannels


def build_policy(model: PolicyModel, revision: str, folder: Path) -> Policy:
    """The policy of a checked file. Files that it names are relative to `folder`, the policy's own."""
    return Policy(
        name=model.name,
        revision=revision,
        tenants=frozenset(model.tenants),
        models=frozenset(model.models),
        rules=tuple(_rule(rule) for rule in model.rules),
        identity=_identity(model, folder),
        devices=tuple(_clearance(each) for each in model.devices),
        state=State(folder / model.state.directory),
    )


def _identity(model: PolicyModel, folder: Path) -> Identity:
    given = model.identity
    return Identity(
        certificates={each.san: CertificateTenant(each.tenant, each.admin) for each in given.certificates},
        jwt=tuple(_issuer(each, folder) for each in given.jwt),
        api_keys_file=folder / given.api_keys_file if given.api_keys_file else None,
    )


def _issuer(each: JwtModel, folder: Path) -> JwtIssuer:
    return JwtIssuer(
        issuer=each.issuer,
        audience=each.audience,
        algorithms=tuple(each.algorithms),
        jwks_file=folder / each.jwks_file,
        tenant_claim=each.tenant_claim,
        subject_claim=each.subject_claim,
        admin_claim=each.admin_claim,
        leeway_seconds=float(each.leeway_seconds),
        tenants=_scope(each.tenants or [ANY]),
    )


def _clearance(each: DeviceModel) -> Clearance:
    return Clearance(
        may_see=frozenset(each.may_see),
        device="*" if each.device == ANY else each.device,
        node="" if each.node == LOCAL else each.node,
    )


def _scope(names: Sequence[str]) -> frozenset[str] | None:
    return None if ANY in names else frozenset(names)


def _rule(rule: RuleModel) -> Rule:
    return _forbid(rule) if rule.effect == "forbid" else _permit(rule)


def _forbid(rule: RuleModel) -> Rule:
    arrivals = rule.arrives or ["none", "local-dp", "encrypted"]
    methods = None if ANY in rule.methods else frozenset(map(Method, rule.methods))
    return Rule(
        name=rule.name,
        effect=Effect.FORBID,
        tenants=_scope(rule.tenants),
        models=_scope(rule.models),
        methods=methods,
        arrives=frozenset(map(Protection, arrivals)),
        why=rule.why or "",
    )


def _permit(rule: RuleModel) -> Rule:
    assert rule.protection is not None, "a permit without a protection does not pass the checks"
    protection = Protection(rule.protection)
    return Rule(
        name=rule.name,
        effect=Effect.PERMIT,
        tenants=_scope(rule.tenants),
        models=_scope(rule.models),
        methods=METHODS[protection] if ANY in rule.methods else frozenset(map(Method, rule.methods)),
        # Noise on the outputs is the server's to add: the request itself comes in the clear.
        arrives=frozenset({Protection.NONE if protection is Protection.OUTPUT_DP else protection}),
        protection=protection,
        guarantee=_guarantee(rule.guarantee),
        mechanism=_mechanism(rule.mechanism),
        budget=_budget(rule),
        side_channels=_side_channels(rule.side_channels or SideChannelsModel(), protection),
        may_log=frozenset(rule.may_log or ()),
        why=rule.why or "",
    )


def _side_channels(given: SideChannelsModel, protection: Protection) -> SideChannels:
    usual = "allowed" if protection is Protection.NONE else "forbidden"
    return SideChannels(
        constant_depth=(given.early_exit or usual) == "forbidden",
        pad_bytes=given.pad_bytes,
        release_grid_seconds=float(given.release_grid_seconds),
    )


def _guarantee(given: GuaranteeModel | None) -> Guarantee | None:
    return None if given is None else Guarantee(**given.model_dump())


def _mechanism(given: MechanismModel | None) -> MechanismSpec | None:
    return None if given is None else MechanismSpec(given.name, tuple(sorted(given.parameters.items())))


def _budget(rule: RuleModel) -> Budget | None:
    if rule.encrypted is not None:
        queries = float(rule.encrypted.max_queries)
        return Budget(Owner.WEIGHTS, rule.name, queries, 0.0, rule.encrypted.lifetime)
    if rule.budget is None or rule.guarantee is None:
        return None
    from privacy.ledger.accounting import rho_of_epsilon_delta

    cap = rho_of_epsilon_delta(rule.guarantee.epsilon, rule.guarantee.delta)
    return Budget(Owner(rule.budget.owner), rule.budget.name, cap, rule.guarantee.delta, rule.guarantee.lifetime)
