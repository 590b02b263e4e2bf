"""One rule of the policy's file: its keys, their types and bounds, as pydantic models.

Knows what one value may be; what values must be together is `policy.checks`'.
"""

from typing import Any, Literal

from pydantic import Field

from privacy.policy.fields import Name, Parameter, ParameterValue, Reference, Strict, Text

MethodName = Literal[
    "any",
    "generate",
    "embed",
    "classify",
    "classify-vectors",
    "classify-encrypted",
    "search-encrypted",
    "apply-encrypted",
]
ProtectionName = Literal["none", "local-dp", "output-dp", "encrypted"]
Arrival = Literal["none", "local-dp", "encrypted"]
Loggable = Literal["tenant", "model", "method", "decision", "sizes", "times"]


class GuaranteeModel(Strict):
    """The full statement of a differential privacy guarantee, over its whole lifetime. No field may be left out."""

    unit: Literal["request", "person", "document", "person-day"] = Field(description="What is protected as a whole.")
    adjacency: Literal["any-two-inputs", "add-or-remove-one", "replace-one"] = Field(
        description="Which two data sets count as neighbours: those that differ in one unit in this way."
    )
    observer: Literal["server", "reader-of-outputs", "querier"] = Field(
        description="Who learns no more than epsilon says."
    )
    lifetime: Literal["request", "day", "forever"] = Field(
        description="Over what all releases are counted together; `day` is a UTC day."
    )
    epsilon: float = Field(ge=1e-3, le=1000, description="How much the observer may learn over the whole lifetime.")
    delta: float = Field(ge=1e-30, le=1e-2, description="The chance that epsilon does not hold; far below 1/people.")
    accountant: Literal["zcdp"] = Field(description="What adds up the releases: zero-concentrated DP.")


class MechanismModel(Strict):
    """Which mechanism adds the noise, and how much."""

    name: Name = Field(description="A mechanism's name; docs/privacy.md lists them.")
    parameters: dict[Parameter, ParameterValue] = Field(default={}, max_length=32)


class BudgetModel(Strict):
    """Whose budget a request is charged to. Rules that name one budget share it."""

    owner: Literal["subject", "dataset"] = Field(
        description="`subject`: one budget for each data subject of each tenant; `dataset`: one for all tenants."
    )
    name: Name = Field(description="The budget's name; for a dataset, the dataset's.")


class EncryptedModel(Strict):
    """What encryption does not give: answers about the weights are bounded by counting queries alone."""

    max_queries: int = Field(gt=0, le=10**9, description="Queries of a tenant to a model within the lifetime.")
    lifetime: Literal["day", "forever"] = Field(description="Over what queries are counted; `day` is a UTC day.")
    weights: Literal["not-protected-beyond-max-queries"] = Field(
        description="States that who may ask more often than the layer is wide can compute its weights."
    )


class SideChannelsModel(Strict):
    """What must not tell anything. Under DP or encryption the defaults are the safe values."""

    early_exit: Literal["forbidden", "allowed"] | None = Field(
        default=None,
        description="Whether an easy text may stop at an exit of a classifier, which its time and its depth then tell;"
        " never under DP or encryption.",
    )
    cache: Literal["none"] | None = Field(
        default=None, description="There is no cache of prefixes, so `none` is all that can be promised."
    )
    pad_bytes: int = Field(default=0, ge=0, le=2**20, description="Answers are padded to a multiple of so many bytes.")
    release_grid_seconds: float = Field(
        default=0.0, ge=0, le=60, description="Answers leave at multiples of this time."
    )


class RuleModel(Strict):
    """One rule: whom it speaks for, what it permits or forbids, and what it imposes."""

    name: Name = Field(description="What decisions call this rule.")
    why: Text | None = Field(default=None, description="A sentence for who reads a decision.")
    effect: Literal["permit", "forbid"]
    tenants: list[Reference] = Field(min_length=1, max_length=4096, description="Tenants, or `any`.")
    models: list[Reference] = Field(min_length=1, max_length=256, description="Models, or `any`.")
    methods: list[MethodName] = Field(min_length=1, max_length=16, description="Methods, or `any`.")
    arrives: list[Arrival] | None = Field(
        default=None, min_length=1, description="Only for `forbid`: how the payload comes; else however it comes."
    )
    protection: ProtectionName | None = Field(default=None, description="What a permitted request must be wrapped in.")
    guarantee: GuaranteeModel | None = None
    mechanism: MechanismModel | None = None
    budget: BudgetModel | None = None
    encrypted: EncryptedModel | None = None
    side_channels: SideChannelsModel | None = None
    may_log: list[Loggable] | None = Field(
        default=None, description="What the server's log may hold of a request; never its content."
    )


#: What a value of `protection` asks for besides: (protection, keys that must be there).
NEEDS: dict[str, tuple[str, ...]] = {
    "local-dp": ("guarantee", "mechanism", "budget"),
    "output-dp": ("guarantee", "mechanism", "budget"),
    "encrypted": ("encrypted",),
    "none": (),
}


def editor_conditions() -> list[dict[str, Any]]:
    """What a permit and each protection need, as conditions of a JSON schema."""
    needs = [
        ("effect", "permit", ("protection",)),
        *(("protection", name, keys) for name, keys in NEEDS.items() if keys),
    ]
    return [
        {
            "if": {"properties": {key: {"const": value}}, "required": [key]},
            "then": {"required": list(required), "properties": {name: {"not": {"type": "null"}} for name in required}},
        }
        for key, value, required in needs
    ]
