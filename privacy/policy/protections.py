"""What one rule must say together: its protection, the guarantee's fields, methods and side channels.

Knows which threats a protection can answer: noise on the server hides nothing from the server, noise on one model's
answers protects no dataset, and a budget that is refilled every day protects a person's day. Knows no mechanism's cost.
"""

from collections.abc import Iterator, Mapping

from privacy.policy.complaints import HINTS, Complaint
from privacy.policy.rules import NEEDS, BudgetModel, GuaranteeModel, RuleModel, SideChannelsModel
from privacy.types import Method, Protection

DP = frozenset({"local-dp", "output-dp"})
#: Mechanisms that run on a client.
ON_CLIENTS = frozenset({"discrete-gaussian"})
#: Mechanisms whose neighbours are datasets; all others' are two inputs.
FOR_DATASETS = frozenset({"private-documents"})

_CLEAR = frozenset({Method.GENERATE, Method.EMBED, Method.CLASSIFY, Method.CLASSIFY_VECTORS})
#: The methods that each protection can be had for.
METHODS: Mapping[Protection, frozenset[Method]] = {
    Protection.NONE: _CLEAR,
    Protection.OUTPUT_DP: _CLEAR,
    Protection.LOCAL_DP: frozenset({Method.CLASSIFY_VECTORS}),
    Protection.ENCRYPTED: frozenset({Method.CLASSIFY_ENCRYPTED, Method.SEARCH_ENCRYPTED, Method.APPLY_ENCRYPTED}),
}
_IMPOSED = ("protection", "guarantee", "mechanism", "budget", "encrypted", "side_channels", "may_log")


def check_rule(rule: RuleModel, index: int) -> Iterator[Complaint]:
    """Complaints about one rule alone."""
    found = _forbids(rule) if rule.effect == "forbid" else _permits(rule)
    for key, text in found:
        yield Complaint(("rules", index, *key), f"rule {rule.name!r}: {text}")


_Found = Iterator[tuple[tuple[str, ...], str]]


def _forbids(rule: RuleModel) -> _Found:
    for key in _IMPOSED:
        if getattr(rule, key) is not None:
            yield (key,), f"a rule that forbids imposes nothing; remove `{key}`, or write `effect: permit`"


def _permits(rule: RuleModel) -> _Found:
    if rule.arrives is not None:
        yield ("arrives",), "`arrives` is for rules that forbid; what a permit asks for is its `protection`"
    if rule.protection is None:
        yield (), f"it lacks `protection`; {HINTS['protection']}"
        return
    yield from _needs(rule, rule.protection)
    yield from _methods(rule, Protection(rule.protection))
    yield from _side_channels(rule.side_channels or SideChannelsModel(), rule.protection)
    if rule.protection in DP:
        yield from _guarantee(rule, rule.protection)


def _needs(rule: RuleModel, protection: str) -> _Found:
    for key in ("guarantee", "mechanism", "budget", "encrypted"):
        given, needed = getattr(rule, key) is not None, key in NEEDS[protection]
        if needed and not given:
            yield (), f"the protection {protection} lacks `{key}`; {HINTS[key]}"
        if given and not needed:
            yield (key,), f"`{key}` means nothing under the protection {protection}; remove it, or change `protection`"


def _methods(rule: RuleModel, protection: Protection) -> _Found:
    able = {method.value for method in METHODS[protection]}
    for name in rule.methods:
        if name != "any" and name not in able:
            yield ("methods",), f"{name} cannot have the protection {protection}; it is for {', '.join(sorted(able))}"


def _side_channels(given: SideChannelsModel, protection: str) -> _Found:
    if protection == "none":
        return
    if given.early_exit == "allowed":
        yield (
            ("side_channels", "early_exit"),
            f"the depth and the time of an early exit tell of the input what {protection} hides; write "
            "`early_exit: forbidden`",
        )


def _guarantee(rule: RuleModel, protection: str) -> _Found:
    guarantee, budget = rule.guarantee, rule.budget
    if guarantee is None or budget is None or rule.mechanism is None:
        return
    yield from _observer(guarantee, protection)
    yield from _lifetime(guarantee)
    yield from (_dataset if budget.owner == "dataset" else _subject)(guarantee, budget, protection)
    name = rule.mechanism.name
    if protection == "local-dp" and name not in ON_CLIENTS:
        able = ", ".join(sorted(ON_CLIENTS))
        yield ("mechanism", "name"), f"{name} does not run on a client, as local-dp asks; those that do: {able}"
    if budget.owner == "dataset" and name not in FOR_DATASETS:
        able = ", ".join(sorted(FOR_DATASETS))
        yield ("mechanism", "name"), f"noise of {name} protects an input and no dataset; for a dataset there is {able}"
    if budget.owner == "subject" and name in FOR_DATASETS:
        yield ("budget", "owner"), f"{name} protects a dataset, shared by all tenants; write `owner: dataset`"


def _observer(guarantee: GuaranteeModel, protection: str) -> _Found:
    if protection == "local-dp" and guarantee.observer != "server":
        yield ("guarantee", "observer"), "under local-dp the noise is for the server's eyes; write `observer: server`"
    if protection == "output-dp" and guarantee.observer == "server":
        yield (
            ("guarantee", "observer"),
            "the server sees the request before output-dp adds noise; write `observer: reader-of-outputs`, "
            "or use local-dp",
        )


def _lifetime(guarantee: GuaranteeModel) -> _Found:
    unit, lifetime = guarantee.unit, guarantee.lifetime
    if lifetime == "day" and unit != "person-day":
        yield (
            ("guarantee", "unit"),
            f"a budget that is refilled every day protects a person's day and no {unit}; write `unit: person-day`, "
            "or `lifetime: forever`",
        )
    if lifetime != "day" and unit == "person-day":
        yield ("guarantee", "lifetime"), "the unit person-day counts one day; write `lifetime: day`, or `unit: person`"
    if (lifetime == "request") != (unit == "request"):
        yield (
            ("guarantee", "lifetime"),
            "the unit request and the lifetime request go together; for all requests of a person write `unit: person` "
            "and `lifetime: forever`",
        )


def _subject(guarantee: GuaranteeModel, budget: BudgetModel, protection: str) -> _Found:
    if guarantee.adjacency != "any-two-inputs":
        yield (
            ("guarantee", "adjacency"),
            "what a subject sends may be anything; write `adjacency: any-two-inputs`, or `owner: dataset`",
        )
    if guarantee.unit == "document":
        yield ("guarantee", "unit"), "the unit document is a dataset's; write `owner: dataset`, or `unit: request`"


def _dataset(guarantee: GuaranteeModel, budget: BudgetModel, protection: str) -> _Found:
    if protection == "local-dp":
        yield ("budget", "owner"), "local-dp protects who sends, and no dataset; write `owner: subject`"
    if guarantee.adjacency == "any-two-inputs":
        yield (
            ("guarantee", "adjacency"),
            "datasets are neighbours when they differ in one unit; write `replace-one` or `add-or-remove-one`",
        )
    if guarantee.unit != "document" or guarantee.lifetime != "forever":
        yield (
            ("guarantee", "unit"),
            "a dataset is made of documents and is the same tomorrow; write `unit: document` and `lifetime: forever`",
        )
