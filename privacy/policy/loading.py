"""Reads a policy's file and believes it only when everything holds: YAML, schema, names, rules, budgets, costs.

Order alone is known here; each check is in the file of its kind. A policy is data: nothing in it is run.
"""

import hashlib
import os
import stat
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from pydantic import ValidationError

from privacy.errors import PolicyError
from privacy.policy.budgets import check_costs, check_together
from privacy.policy.building import build_policy
from privacy.policy.checks import check_devices, check_identity, check_names
from privacy.policy.complaints import Complaint, schema_complaints
from privacy.policy.protections import check_rule
from privacy.policy.schema import PolicyModel
from privacy.policy.types import Policy
from privacy.policy.warnings import warnings_of
from privacy.policy.yaml import MAX_BYTES, Document, read_document


@dataclass(frozen=True, slots=True)
class Examination:
    """A policy, or what is wrong with it: sentences that begin with their line, in the order of the file."""

    policy: Policy | None
    complaints: tuple[str, ...] = ()


def load_policy(path: Path | str) -> Policy:
    """The policy in a file. Raises PolicyError naming the first thing that is wrong, its line, and the way out."""
    path = Path(path)
    found = examine(read_policy_file(path), path.resolve().parent)
    if found.policy is None:
        more = f" (and {len(found.complaints) - 1} more: see `hetero privacy check`)" if found.complaints[1:] else ""
        raise PolicyError(f"the policy {path.name}, {found.complaints[0]}{more}")
    return found.policy


def read_policy_file(path: Path) -> bytes:
    """The file's bytes. Raises PolicyError where it cannot be read, or where anyone may write it."""
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise PolicyError(f"the policy {str(path)!r} cannot be read: {error.strerror}") from None
    if mode & stat.S_IWOTH:
        raise PolicyError(f"anyone may write the policy {str(path)!r}, so it cannot be believed; chmod o-w")
    return data


def examine(data: bytes, folder: Path) -> Examination:
    """Check the bytes of a policy's file; files that it names are relative to `folder`. Raises nothing."""
    try:
        document = read_document(data)
    except PolicyError as error:
        return Examination(None, (str(error),))
    try:
        model = PolicyModel.model_validate(document.values)
    except ValidationError as error:
        return _refused(schema_complaints(error, document), document)
    if complaints := [*check_names(model), *check_identity(model), *check_devices(model), *_rules(model)]:
        return _refused(complaints, document)
    policy = build_policy(model, hashlib.sha256(data).hexdigest(), folder)
    if complaints := [*check_together(policy.rules), *check_costs(policy.rules)]:
        return _refused(complaints, document)
    return Examination(replace(policy, warnings=warnings_of(policy)))


def _rules(model: PolicyModel) -> Iterable[Complaint]:
    return (found for index, rule in enumerate(model.rules) for found in check_rule(rule, index))


def _refused(complaints: Iterable[Complaint], document: Document) -> Examination:
    lined = sorted({(document.line(each.path), each.text) for each in complaints})
    return Examination(None, tuple(f"line {line}: {text}" for line, text in lined))
