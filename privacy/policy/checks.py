"""What a policy's names must be together: declared, unique, and one way to each tenant.

Knows the file's schema. What a protection asks for is `policy.protections`', what budgets ask for `policy.budgets`'.
"""

from collections.abc import Iterator, Sequence
from difflib import get_close_matches

from privacy.policy.complaints import Complaint, one_of
from privacy.policy.schema import IdentityModel, PolicyModel

ANY = "any"
#: Stands for the server's own node.
LOCAL = "local"


def check_names(model: PolicyModel) -> Iterator[Complaint]:
    """Complaints about names: given twice, reserved, or declared nowhere."""
    yield from _twice(("tenants",), model.tenants, "the tenant")
    yield from _twice(("models",), model.models, "the model")
    yield from _twice(("rules",), [rule.name for rule in model.rules], "the rule")
    for key, names in (("tenants", model.tenants), ("models", model.models)):
        if ANY in names:
            yield Complaint((key, names.index(ANY)), f"`{ANY}` in `{key}` stands for all of them; use another name")
    for index, rule in enumerate(model.rules):
        where = f"rule {rule.name!r}"
        yield from _undeclared(("rules", index, "tenants"), f"{where} names the tenant", rule.tenants, model.tenants)
        yield from _undeclared(("rules", index, "models"), f"{where} names the model", rule.models, model.models)


def check_identity(model: PolicyModel) -> Iterator[Complaint]:
    """Complaints about how tenants prove who they are."""
    identity = model.identity
    if not (identity.certificates or identity.jwt or identity.api_keys_file):
        yield Complaint(
            ("identity",), "`identity` names no way to prove anything; give certificates, jwt or api_keys_file"
        )
    yield from _certificates(identity, model.tenants)
    yield from _twice(("identity", "jwt"), [each.issuer for each in identity.jwt], "the issuer")
    for index, issuer in enumerate(identity.jwt):
        path = ("identity", "jwt", index, "tenants")
        yield from _undeclared(
            path, f"the issuer {issuer.issuer!r} vouches for the tenant", issuer.tenants or [], model.tenants
        )


def check_devices(model: PolicyModel) -> Iterator[Complaint]:
    """Complaints about devices: each entry speaks of one device or one node, once."""
    for index, each in enumerate(model.devices):
        if (each.device is None) == (each.node is None):
            yield Complaint(("devices", index), f"`devices`: entry {index + 1} must give either `device` or `node`")
    keys = [f"device {each.device}" if each.node is None else f"node {each.node}" for each in model.devices]
    yield from _twice(("devices",), keys, "the entry for")


def _certificates(identity: IdentityModel, tenants: Sequence[str]) -> Iterator[Complaint]:
    # Hosts' names are compared without regard to case, so two that differ in case alone are one.
    names = [each.san.lower().removeprefix("dns:") for each in identity.certificates]
    yield from _twice(("identity", "certificates"), names, "the certificate's name")
    for index, each in enumerate(identity.certificates):
        path = ("identity", "certificates", index, "tenant")
        yield from _undeclared(path, f"the certificate {each.san!r} stands for the tenant", [each.tenant], tenants)


def _twice(path: tuple[str, ...], names: Sequence[str], what: str) -> Iterator[Complaint]:
    seen: set[str] = set()
    for index, name in enumerate(names):
        if name in seen:
            yield Complaint((*path, index), f"{what} {name!r} is given twice; keep one")
        seen.add(name)


def _undeclared(
    path: tuple[str | int, ...], what: str, names: Sequence[str], declared: Sequence[str]
) -> Iterator[Complaint]:
    for name in names:
        if name != ANY and name not in declared:
            close = get_close_matches(name, declared, 1)
            hint = f"did you mean {close[0]!r}?" if close else f"declared are: {one_of(declared)}"
            yield Complaint(path, f"{what} {name!r}, which the policy does not declare; {hint}")
