"""A policy as it is decided on: rules, budgets, who is who, which device may see what. Values alone.

Knows neither YAML (`policy.loading`) nor the file's schema (`policy.schema`), and decides nothing (`policy.decide`).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from privacy.types import Account, Guarantee, MechanismSpec, Method, Owner, Protection, SideChannels


class Effect(StrEnum):
    """What a rule does where it matches. One that forbids wins over all that permit."""

    PERMIT = "permit"
    FORBID = "forbid"


@dataclass(frozen=True, slots=True)
class CertificateTenant:
    """Whom a client certificate's subject alternative name stands for."""

    tenant: str
    admin: bool = False


@dataclass(frozen=True, slots=True)
class JwtIssuer:
    """Who may vouch for tenants by signed tokens, and how such a token is checked.

    `algorithms` are asymmetric ones only; `tenants` None: every tenant of the policy. A token whose `admin_claim` is
    the boolean true is an administrator's; without an `admin_claim` none is.
    """

    issuer: str
    audience: str
    algorithms: tuple[str, ...]
    jwks_file: Path
    tenant_claim: str = "tenant"
    subject_claim: str = "sub"
    admin_claim: str | None = None
    leeway_seconds: float = 0.0
    tenants: frozenset[str] | None = None


@dataclass(frozen=True, slots=True)
class Identity:
    """How tenants prove who they are. `certificates` maps a SAN (a DNS name, or a URI as SPIFFE's) to its tenant."""

    certificates: Mapping[str, CertificateTenant] = field(default_factory=dict)
    jwt: tuple[JwtIssuer, ...] = ()
    api_keys_file: Path | None = None


@dataclass(frozen=True, slots=True)
class Clearance:
    """What a device may see. Exactly one of `device` and `node` is given.

    `device` is a name as `hetero devices` shows it, or "*" for every one; `node` stands for all devices of that node,
    "" for those of the server's own. `may_see` are names of `placement.DataLabel`.
    """

    may_see: frozenset[str]
    device: str | None = None
    node: str | None = None

    def covers(self, device: str, node: str = "") -> bool:
        """Whether this clearance speaks of the device of that name on that node."""
        return self.device in {"*", device} if self.node is None else self.node == node


@dataclass(frozen=True, slots=True)
class State:
    """Where what must survive a restart is kept: never in the model's folder, never in Ray."""

    directory: Path

    @property
    def ledger_file(self) -> Path:
        return self.directory / "ledger.sqlite3"

    @property
    def audit_file(self) -> Path:
        return self.directory / "audit.jsonl"

    @property
    def signing_key_file(self) -> Path:
        return self.directory / "signing.key"

    @property
    def public_key_file(self) -> Path:
        return self.directory / "signing.pub"


@dataclass(frozen=True, slots=True)
class Budget:
    """Whose a budget is, and what its guarantee comes to in rho. For WEIGHTS: how many queries."""

    owner: Owner
    name: str
    rho_cap: float
    delta: float
    lifetime: str

    def account(self, tenant: str, subject: str, model: str) -> Account:
        """The account of who asks. Only the last part of a name may hold "/", so that no two askers share one."""
        name = {
            Owner.SUBJECT: f"{self.name}/{tenant}/{subject}",
            Owner.DATASET: self.name,
            Owner.WEIGHTS: f"{tenant}/{model}",
        }[self.owner]
        return Account(self.owner, name, self.rho_cap, self.delta, self.lifetime)


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule: for whom it speaks, and what it imposes. A scope that is None holds for all that the policy names."""

    name: str
    effect: Effect
    tenants: frozenset[str] | None
    models: frozenset[str] | None
    methods: frozenset[Method] | None
    #: How a payload must come for a rule to match; a permit has exactly one.
    arrives: frozenset[Protection]
    protection: Protection = Protection.NONE
    guarantee: Guarantee | None = None
    mechanism: MechanismSpec | None = None
    budget: Budget | None = None
    side_channels: SideChannels = field(default_factory=SideChannels)
    may_log: frozenset[str] = frozenset()
    #: Words of the policy's author, shown with a decision.
    why: str = ""

    def covers(self, tenant: str, model: str, method: Method) -> bool:
        """Whether the rule speaks of this tenant, model and method, however the payload comes."""
        return (
            (self.tenants is None or tenant in self.tenants)
            and (self.models is None or model in self.models)
            and (self.methods is None or method in self.methods)
        )


@dataclass(frozen=True, slots=True)
class Policy:
    """A policy that was checked. `revision` is the SHA-256 of its file, in hexadecimal digits."""

    name: str
    revision: str
    tenants: frozenset[str]
    models: frozenset[str]
    rules: tuple[Rule, ...]
    identity: Identity
    devices: tuple[Clearance, ...]
    state: State
    #: What deserves a second look, though it may be meant: each is one sentence.
    warnings: tuple[str, ...] = ()

    def accounts(self) -> tuple[Account, ...]:
        """Every account that can be named before anyone asks: of datasets, and of each tenant about itself."""
        found = {
            account.key: account
            for rule in self.rules
            if rule.budget is not None
            for tenant in sorted(rule.tenants or self.tenants)
            for model in sorted(rule.models or self.models)
            for account in (rule.budget.account(tenant, tenant, model),)
        }
        return tuple(found.values())

    def may_see(self, device: str, node: str = "") -> frozenset[str]:
        """The data labels that the device may see; none where nothing speaks of it."""
        return frozenset().union(*(each.may_see for each in self.devices if each.covers(device, node)))
