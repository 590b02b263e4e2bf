"""The nouns of the privacy layer: who asks, what a policy answers, what is guaranteed and what it costs.

Values alone; who decides, spends and samples is in the files beside this one. Privacy loss is counted in zCDP's rho
(Bun and Steinke, 2016, https://arxiv.org/abs/1605.02065), which adds up under adaptive composition; epsilon and delta
are what it is told as.
"""

from dataclasses import dataclass, field
from enum import StrEnum


class Protection(StrEnum):
    """What a request must be wrapped in."""

    NONE = "none"
    #: Noise on the client: the server never sees the clean value.
    LOCAL_DP = "local-dp"
    #: Noise on the server: who reads the output learns little of the input.
    OUTPUT_DP = "output-dp"
    #: Ciphertexts alone reach the server.
    ENCRYPTED = "encrypted"


class Method(StrEnum):
    """What is asked of a model. The last four carry what a client computed or encrypted."""

    GENERATE = "generate"
    EMBED = "embed"
    CLASSIFY = "classify"
    CLASSIFY_VECTORS = "classify-vectors"
    CLASSIFY_ENCRYPTED = "classify-encrypted"
    SEARCH_ENCRYPTED = "search-encrypted"
    APPLY_ENCRYPTED = "apply-encrypted"


class Owner(StrEnum):
    """Whose data a budget protects, and so to whom it belongs."""

    #: One budget for each data subject of each tenant.
    SUBJECT = "subject"
    #: One budget for the dataset, shared by all tenants, for they may collude.
    DATASET = "dataset"
    #: No budget of rho but a cap on encrypted queries, for each tenant and model: n queries solve n columns of weights.
    WEIGHTS = "weights"


@dataclass(frozen=True, slots=True)
class Principal:
    """Who asks, as a credential proved it: never as a payload claimed it."""

    tenant: str
    #: "certificate", "jwt" or "api-key".
    credential: str
    #: Whose data the requests are about, where the credential says so; else the tenant itself.
    subject: str | None = None
    admin: bool = False

    @property
    def data_subject(self) -> str:
        return self.subject or self.tenant


@dataclass(frozen=True, slots=True)
class Ask:
    """What a decision is made on. Holds nothing of the content."""

    principal: Principal
    model: str
    method: Method
    #: How the payload came: in the clear, noised by the client, or encrypted.
    arrives: Protection = Protection.NONE
    #: Tokens that are asked for, or vectors or texts that are sent: what is charged scales with it.
    count: int = 1


@dataclass(frozen=True, slots=True)
class Guarantee:
    """What a DP guarantee means in full, over its whole lifetime. A statement that lacks a field is none."""

    #: What is protected as a whole: "request", "person", "document", "person-day" ...
    unit: str
    #: Which two inputs count as neighbours: "any-two-inputs", "add-or-remove-one", "replace-one".
    adjacency: str
    #: Who learns no more than this: "server", "reader-of-outputs", "querier" ...
    observer: str
    #: Over what all releases are counted together: "request", "day", "forever".
    lifetime: str
    epsilon: float
    delta: float
    #: What composes the releases: "zcdp".
    accountant: str


@dataclass(frozen=True, slots=True)
class Event:
    """One release's mechanism and the parameters that its privacy loss follows from, for other accountants."""

    #: "gaussian" (noise_multiplier), "discrete-gaussian" (noise_multiplier), "exponential" (epsilon),
    #: "randomised-response" (probability of the truth, number of labels).
    kind: str
    parameters: tuple[tuple[str, float], ...]
    count: int = 1


@dataclass(frozen=True, slots=True)
class Charge:
    """What one request costs. It depends on the request's size and the policy, never on the data."""

    rho: float
    event: Event


@dataclass(frozen=True, slots=True)
class Account:
    """One budget: whose, and how much of rho there is for how long. `key` is unique within a ledger.

    Where the owner is WEIGHTS, `rho_cap` is a number of queries, each query costs 1, and delta is 0.
    """

    owner: Owner
    #: For a subject: the budget's name, tenant and subject; for a dataset: its name; for weights: tenant and model.
    #: Parts are joined by "/", which only the last may hold.
    name: str
    rho_cap: float
    delta: float
    #: "request": the cap holds for each request alone; "day": for each UTC day; "forever".
    lifetime: str = "forever"

    @property
    def key(self) -> str:
        return f"{self.owner.value}:{self.name}"


@dataclass(frozen=True, slots=True)
class SideChannels:
    """What must not tell: sizes and times of answers, and depth. There is no cache of prefixes that could tell."""

    #: Every input goes through all layers; else an easy one may stop at an exit of the model.
    constant_depth: bool = True
    #: Answers are padded to a multiple of this many bytes; 0: not.
    pad_bytes: int = 0
    #: Answers leave at multiples of this many seconds after their request; 0: at once.
    release_grid_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class MechanismSpec:
    """A mechanism by name with its parameters, as the policy wrote it."""

    name: str
    parameters: tuple[tuple[str, float], ...] = ()

    def __getitem__(self, name: str) -> float:
        return dict(self.parameters)[name]


@dataclass(frozen=True, slots=True)
class Decision:
    """What a policy says to an `Ask`. `allowed` is False unless a rule permits and none forbids."""

    decision_id: str
    allowed: bool
    #: One sentence for the asker and the audit.
    reason: str
    #: Names of the rules that matched, the deciding one first.
    rules: tuple[str, ...] = ()
    #: SHA-256 of the policy's file.
    policy_revision: str = ""
    protection: Protection = Protection.NONE
    guarantee: Guarantee | None = None
    mechanism: MechanismSpec | None = None
    account: Account | None = None
    side_channels: SideChannels = field(default_factory=SideChannels)
    #: Names of what the server's log may hold of the request: "tenant", "method", "sizes", "times" ...
    may_log: frozenset[str] = frozenset()
