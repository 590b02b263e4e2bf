"""What is wrong with a policy, told so that its author finds the line and the way out.

Knows the words for every kind of schema error, and examples of every field; judges nothing itself.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from pydantic import ValidationError

from privacy.policy.rules import (
    BudgetModel,
    EncryptedModel,
    GuaranteeModel,
    MechanismModel,
    RuleModel,
    SideChannelsModel,
)
from privacy.policy.schema import CertificateModel, DeviceModel, IdentityModel, JwtModel, PolicyModel, StateModel
from privacy.policy.yaml import Document, Path

#: What to write where a key is missing.
HINTS: Mapping[str, str] = {
    "unit": "say what is protected as a whole, e.g. `unit: request`",
    "adjacency": "say which inputs count as neighbours, e.g. `adjacency: any-two-inputs`",
    "observer": "say who learns no more than epsilon, e.g. `observer: server`",
    "lifetime": "say over what all releases are counted together, e.g. `lifetime: forever`",
    "epsilon": "say how much may be learnt over the whole lifetime, e.g. `epsilon: 2.0`",
    "delta": "say with which chance epsilon may not hold, e.g. `delta: 1e-6`",
    "accountant": "say what adds up the releases, e.g. `accountant: zcdp`",
    "guarantee": "state it in full: unit, adjacency, observer, lifetime, epsilon, delta, accountant",
    "mechanism": "name what adds the noise, e.g. `mechanism: {name: randomised-response, parameters: {...}}`",
    "budget": "say whose it is, e.g. `budget: {owner: subject, name: requests}`",
    "owner": "say whose data it protects: `subject` or `dataset`",
    "encrypted": "bound the queries, e.g. `encrypted: {max_queries: 300, lifetime: forever, "
    "weights: not-protected-beyond-max-queries}`",
    "max_queries": "bound the queries of a tenant, below the width of the layer",
    "weights": "state what encryption does not give: `weights: not-protected-beyond-max-queries`",
    "protection": "say what a permitted request is wrapped in: none, local-dp, output-dp or encrypted",
    "effect": "write `effect: permit` or `effect: forbid`",
    "tenants": "name them, or write `[any]`",
    "models": "name them, or write `[any]`",
    "methods": "name them, or write `[any]`",
    "identity": "say how tenants prove who they are: certificates, jwt or api_keys_file",
    "devices": "say which devices may see what, e.g. `- {device: any, may_see: [raw-tokens]}`",
    "may_see": "name labels of data, e.g. `may_see: [raw-tokens]`, or `[]` for nothing",
    "state": "say where the ledger and the audit log are kept, e.g. `state: {directory: /var/lib/hetero}`",
    "directory": "name a folder on a local disk, e.g. `directory: /var/lib/hetero`",
    "version": "write `version: 1`",
    "rules": "without one that permits, everything is denied",
    "name": "give it one, by which decisions call it",
    "algorithms": "name the signatures that are accepted, e.g. `algorithms: [ES256]`",
    "audience": "name who the tokens are for, e.g. `audience: hetero`",
}
#: A rule for what does not exist would be believed.
NO_CACHE = "there is no cache of prefixes that could be shared or salted; write `cache: none`, or leave it out"
#: The model of each part of the file, for the keys that it has.
_MODELS: Mapping[str, type] = {
    "rules": RuleModel,
    "guarantee": GuaranteeModel,
    "mechanism": MechanismModel,
    "budget": BudgetModel,
    "encrypted": EncryptedModel,
    "side_channels": SideChannelsModel,
    "identity": IdentityModel,
    "certificates": CertificateModel,
    "jwt": JwtModel,
    "devices": DeviceModel,
    "state": StateModel,
}

_BOUND_WORDS: Mapping[str, str] = {
    "greater_than_equal": "at least",
    "less_than_equal": "at most",
    "greater_than": "above",
    "finite_number": "a finite number",
}


@dataclass(frozen=True, slots=True)
class Complaint:
    """One thing that is wrong: where, and one sentence that ends in the way out."""

    path: Path
    text: str


def schema_complaints(error: ValidationError, document: Document) -> list[Complaint]:
    """A complaint for each error that pydantic found."""
    return [_complaint(each, document) for each in error.errors(include_url=False, include_context=True)]


def _complaint(error: Any, document: Document) -> Complaint:
    path: Path = tuple(error["loc"])
    where = _where(path[:-1], document)
    key = str(path[-1]) if path else ""
    if error["type"] == "missing":
        return Complaint(path, f"{where} lacks `{key}`; {HINTS.get(key, 'give it')}")
    if error["type"] == "extra_forbidden":
        return Complaint(path, f"{where} has no key `{shorten(key)}`; {_near(key, path)}")
    if key == "cache":
        return Complaint(path, f"{_where(path, document)} is {shorten(repr(error['input']))}; {NO_CACHE}")
    return Complaint(path, f"{_where(path, document)} {_expected(error)}")


def _expected(error: Any) -> str:
    kind, given, context = str(error["type"]), shorten(repr(error["input"])), error.get("ctx", {})
    match kind:
        case "literal_error":
            return f"is {given}; it must be {context['expected']}"
        case "string_type":
            return f"is {given}, not text; put it in quotes if it is meant"
        case "string_pattern_mismatch":
            return f"is {given}; use letters, digits and . _ - @, beginning with a letter or digit, on one line"
        case "float_type" | "int_type" | "int_from_float":
            return f"is {given}; it must be a {'whole ' if kind != 'float_type' else ''}number, without quotes"
        case "bool_type":
            return f"is {given}; it must be true or false, without quotes"
        case "list_type":
            return f"must be a list, as in `[{given}]`" if isinstance(error["input"], str) else "must be a list"
        case "greater_than_equal" | "less_than_equal" | "greater_than" | "finite_number":
            return f"is {given}; it must be {_BOUND_WORDS[kind]} {next(iter(context.values()), '')}".rstrip()
        case "too_short":
            return "must name at least one"
    message = str(error["msg"])
    return f"is not acceptable: {message[0].lower()}{message[1:]}"


def _near(key: str, path: Path) -> str:
    part = next((str(each) for each in reversed(path[:-1]) if isinstance(each, str)), "")
    model: Any = _MODELS.get(part, PolicyModel)
    keys = list(model.model_fields)
    close = get_close_matches(key, keys, 1)
    return f"did you mean `{close[0]}`?" if close else f"the keys are: {', '.join(keys)}"


def _where(path: Path, document: Document) -> str:
    """What the path leads to, in words: the rule 'analysts', then the parts within it."""
    if path[:1] == ("rules",) and len(path) > 1:
        parts = [rule_words(document, path[1]), *map(_part, path[2:])]
    else:
        parts = list(map(_part, path))
    return ": ".join(part for part in parts if part) or "the policy"


def _part(part: str | int) -> str:
    if isinstance(part, int):
        return f"entry {part + 1}"
    return f"the {part}" if part in {"guarantee", "mechanism", "budget"} else f"`{shorten(part)}`"


def rule_words(document: Document, index: str | int) -> str:
    """A rule by its name, or by its position where it has none."""
    rules: Any = document.values.get("rules")
    rule = rules[index] if isinstance(rules, list) and isinstance(index, int) and index < len(rules) else None
    name = rule.get("name") if isinstance(rule, dict) else None
    return f"rule {shorten(name)!r}" if isinstance(name, str) else f"rule {index + 1 if isinstance(index, int) else ''}"


def shorten(text: str) -> str:
    """At most 60 characters of what the author wrote: a message is read, and may be logged."""
    return text if len(text) <= 60 else f"{text[:57]}..."


def one_of(names: Sequence[str]) -> str:
    """Names as the end of a sentence, at most twelve of them."""
    shown = ", ".join(names[:12])
    return f"{shown} ..." if len(names) > 12 else shown
