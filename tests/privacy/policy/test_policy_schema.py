"""The file's schema: a guarantee that lacks a field is none, unknown keys are refused, messages show the way out."""

import json
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from privacy.errors import PolicyError
from privacy.policy.complaints import HINTS
from privacy.policy.loading import examine, load_policy
from privacy.policy.rules import GuaranteeModel
from privacy.policy.schema import json_schema
from privacy.policy.yaml import read_document

ROOT = Path(__file__).parents[3]
LETTERS = ROOT / "tests" / "data" / "policies" / "letters.yaml"
EXAMPLES = [LETTERS, *sorted((ROOT / "examples" / "policies").glob("*.yaml"))]
GUARANTEE_FIELDS = tuple(GuaranteeModel.model_fields)


def values_of(path: Path = LETTERS) -> dict[str, Any]:
    return deepcopy(read_document(path.read_bytes()).values)


def complaints_about(values: dict[str, Any]) -> tuple[str, ...]:
    """JSON is YAML, on one line."""
    found = examine(json.dumps(values).encode(), Path("/nowhere"))
    assert (found.policy is None) == bool(found.complaints)
    return tuple(text.removeprefix("line 1: ") for text in found.complaints)


def test_guarantee_has_the_seven_fields_of_a_full_statement() -> None:
    wanted = {"unit", "adjacency", "observer", "lifetime", "epsilon", "delta", "accountant"}
    assert set(GUARANTEE_FIELDS) == wanted


@pytest.mark.parametrize("missing", GUARANTEE_FIELDS)
def test_guarantee_that_lacks_a_field_is_refused(missing: str) -> None:
    values = values_of()
    del values["rules"][1]["guarantee"][missing]
    assert complaints_about(values) == (f"rule 'mood-of-a-letter': the guarantee lacks `{missing}`; {HINTS[missing]}",)


@pytest.mark.parametrize("field", GUARANTEE_FIELDS)
@pytest.mark.parametrize("value", [None, "", "whatever", True, [], {}, -1, "8.0"])
def test_guarantee_with_a_field_that_says_nothing_is_refused(field: str, value: object) -> None:
    values = values_of()
    values["rules"][1]["guarantee"][field] = value
    (complaint,) = complaints_about(values)
    assert complaint.startswith(f"rule 'mood-of-a-letter': the guarantee: `{field}` ")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("epsilon", 0),
        ("epsilon", 1001),
        ("epsilon", float("inf")),
        ("delta", 0),
        ("delta", 0.5),
        ("delta", float("nan")),
    ],
)
def test_guarantee_with_a_number_out_of_bounds_is_refused(field: str, value: float) -> None:
    text = LETTERS.read_text().replace("epsilon: 4.0", "epsilon: E").replace("delta: 1e-6", "delta: D")
    numbers = {"epsilon": "4.0", "delta": "1e-6"} | {field: str(value).replace("inf", ".inf").replace("nan", ".nan")}
    found = examine(
        text.replace("epsilon: E", f"epsilon: {numbers['epsilon']}")
        .replace("delta: D", f"delta: {numbers['delta']}")
        .encode(),
        Path(),
    )
    assert any(f"the guarantee: `{field}`" in complaint for complaint in found.complaints)


@pytest.mark.parametrize("missing", ["guarantee", "mechanism", "budget"])
def test_dp_protection_that_lacks_a_part_is_refused(missing: str) -> None:
    values = values_of()
    del values["rules"][1][missing]
    (complaint,) = complaints_about(values)
    assert complaint == f"rule 'mood-of-a-letter': the protection output-dp lacks `{missing}`; {HINTS[missing]}"


REQUIRED: list[tuple[str | int, ...]] = [
    *[(key,) for key in ("version", "name", "tenants", "models", "identity", "devices", "state", "rules")],
    *[("rules", 0, key) for key in ("name", "effect", "tenants", "models", "methods", "protection")],
    *[("rules", 0, "budget", key) for key in ("owner", "name")],
    ("rules", 0, "mechanism", "name"),
    ("devices", 0, "may_see"),
    ("state", "directory"),
    *[("identity", "jwt", 0, key) for key in ("issuer", "audience", "algorithms", "jwks_file")],
]


@pytest.mark.parametrize("path", REQUIRED, ids=str)
def test_missing_key_is_named(path: tuple[str | int, ...]) -> None:
    values = values_of()
    part: Any = values
    for step in path[:-1]:
        part = part[step]
    del part[path[-1]]
    complaints = complaints_about(values)
    assert any(f"lacks `{path[-1]}`; " in complaint for complaint in complaints), complaints


PLACES: list[tuple[str | int, ...]] = [
    (),
    ("identity",),
    ("identity", "jwt", 0),
    ("devices", 0),
    ("state",),
    ("rules", 0),
    *[("rules", 0, key) for key in ("guarantee", "mechanism", "budget", "side_channels")],
]


@pytest.mark.parametrize("path", PLACES, ids=str)
def test_unknown_key_is_refused_everywhere(path: tuple[str | int, ...]) -> None:
    values = values_of()
    part: Any = values
    for step in path:
        part = part[step]
    part["anonymise"] = True
    (complaint,) = complaints_about(values)
    assert "has no key `anonymise`" in complaint


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        (("rules", 1, "guarantee", "epsilom"), 1.0, "the guarantee has no key `epsilom`; did you mean `epsilon`?"),
        (("rules", 1, "guarantee", "epsilon"), "4", "`epsilon` is '4'; it must be a number, without quotes"),
        (("rules", 1, "may_log"), ["prompt"], "`may_log`: entry 1 is 'prompt'; it must be"),
        (("rules", 1, "tenants"), "editors", "`tenants` must be a list, as in `['editors']`"),
        (("rules", 1, "tenants"), [], "`tenants` must name at least one"),
        (("rules", 1, "name"), "a/b", "rule 'a/b': `name` is 'a/b'; use letters"),
        (("rules", 1, "name"), "x\nforged: line", "use letters"),
        (("tenants",), ["a/b"], "use letters"),
        (("tenants",), [True], "`tenants`: entry 1 is True, not text; put it in quotes if it is meant"),
        (("version",), True, "`version` is True; it must be a whole number"),
        (("rules", 1, "guarantee", "epsilon"), 1001, "`epsilon` is 1001; it must be at most 1000"),
        (("version",), 2, "`version` is 2; it must be at most 1"),
        (("identity", "jwt", 0, "algorithms"), ["none"], "entry 1 is 'none'; it must be"),
        (("identity", "jwt", 0, "algorithms"), ["HS256"], "entry 1 is 'HS256'; it must be"),
        (("identity", "jwt", 0, "leeway_seconds"), 1e9, "`leeway_seconds`"),
        (("rules",), [], "`rules` must name at least one"),
        (("rules", 0), "permit", "rule 1"),
    ],
)
def test_wrong_value_is_refused_in_words(path: tuple[str | int, ...], value: object, said: str) -> None:
    values = values_of()
    part: Any = values
    for step in path[:-1]:
        part = part[step]
    part[path[-1]] = value
    assert any(said in complaint for complaint in complaints_about(values)), complaints_about(values)


def test_complaint_names_the_line(tmp_path: Path) -> None:
    lines = LETTERS.read_text().splitlines()
    number = next(index for index, line in enumerate(lines) if "observer: reader-of-outputs" in line)
    head = max(index for index in range(number) if "guarantee:" in lines[index])
    del lines[number]
    file = tmp_path / "policy.yaml"
    file.write_text("\n".join(lines))
    with pytest.raises(PolicyError) as raised:
        load_policy(file)
    assert str(raised.value) == (
        f"the policy policy.yaml, line {head + 1}: rule 'mood-of-a-letter': the guarantee lacks `observer`; say who "
        "learns no more than epsilon, e.g. `observer: server`"
    )


def test_several_complaints_are_counted(tmp_path: Path) -> None:
    file = tmp_path / "policy.yaml"
    file.write_text(LETTERS.read_text().replace("accountant: zcdp", "accountant: naive"))
    with pytest.raises(PolicyError, match=r"\(and 1 more: see `hetero privacy check`\)$"):
        load_policy(file)


def test_policy_that_anyone_may_write_is_not_believed(tmp_path: Path) -> None:
    file = tmp_path / "policy.yaml"
    file.write_bytes(LETTERS.read_bytes())
    file.chmod(0o646)
    with pytest.raises(PolicyError, match="anyone may write"):
        load_policy(file)


@pytest.mark.parametrize("file", ["absent.yaml", "."])
def test_policy_that_cannot_be_read_is_refused(tmp_path: Path, file: str) -> None:
    with pytest.raises(PolicyError, match="cannot be read"):
        load_policy(tmp_path / file)


@pytest.fixture(scope="module")
def accepts() -> Callable[[dict[str, Any]], bool]:
    """Whether an editor that knows the JSON schema would accept the values."""
    schema = json_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema).is_valid


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_json_schema_accepts_the_examples(accepts: Callable[[dict[str, Any]], bool], path: Path) -> None:
    assert accepts(values_of(path))


@pytest.mark.parametrize("missing", GUARANTEE_FIELDS)
def test_json_schema_refuses_a_guarantee_that_lacks_a_field(
    accepts: Callable[[dict[str, Any]], bool], missing: str
) -> None:
    values = values_of()
    del values["rules"][0]["guarantee"][missing]
    assert not accepts(values)


@pytest.mark.parametrize("missing", ["protection", "guarantee", "mechanism", "budget"])
def test_json_schema_refuses_a_dp_rule_that_lacks_a_part(
    accepts: Callable[[dict[str, Any]], bool], missing: str
) -> None:
    values = values_of()
    del values["rules"][0][missing]
    assert not accepts(values)


def test_json_schema_describes_every_key_of_a_rule() -> None:
    rule = json_schema()["$defs"]["GuaranteeModel"]["properties"]
    assert all(field.get("description") for field in rule.values())
