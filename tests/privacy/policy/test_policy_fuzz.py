"""10,000 malformed policies: every one is refused with a PolicyError, and none crashes the loader.

Half are broken in their values, so that they are still YAML; half in their text. What a broken text still means may be
a policy by chance (a letter changed in a note): then it must be believed as what it is, with a revision of its own.
"""

import json
import random
from collections.abc import Callable, Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest

from privacy.errors import PolicyError
from privacy.policy.loading import examine, load_policy
from privacy.policy.yaml import read_document

ROOT = Path(__file__).parents[3]
POLICIES = [ROOT / "tests/data/policies/letters.yaml", *sorted((ROOT / "examples" / "policies").glob("*.yaml"))]
VALUES = [read_document(path.read_bytes()).values for path in POLICIES]
TEXTS = [path.read_bytes() for path in POLICIES]
COUNT = 5_000
#: What may be left out without harm; everything else in the examples is needed.
OPTIONAL = {
    *("why", "side_channels", "may_log", "pad_bytes", "release_grid_seconds", "cache", "arrives", "admin"),
    *("tenant_claim", "subject_claim", "leeway_seconds", "parameters", "top_k", "api_keys_file", "certificates", "jwt"),
}
#: Values that nothing in a policy may have.
WRONG: tuple[Any, ...] = (
    *({}, {"x": {"y": []}}, [[]], [None], True, -1, 1e300, float("inf"), float("nan"), 10**17),
    *("\x00", "a\nb", "\u202e", " ", "🙂", "/" * 5000, "${HOME}", "'; DROP TABLE spent; --"),
)

Break = Callable[[random.Random, dict[str, Any]], None]


def parts(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every container of the values with each of its keys, from the outside in."""
    for key in value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ():
        yield value, key
        yield from parts(value[key])


def leave_out(chance: random.Random, values: dict[str, Any]) -> None:
    needed = [(part, key) for part, key in parts(values) if isinstance(part, dict) and key not in OPTIONAL]
    part, key = chance.choice(needed)
    del part[key]


def add_unknown(chance: random.Random, values: dict[str, Any]) -> None:
    mappings = [values, *(part[key] for part, key in parts(values) if isinstance(part[key], dict))]
    chance.choice(mappings)[chance.choice(["x", "epsilom", "Epsilon", "__class__", "", "ünit", "rules "])] = 1


def put_wrong(chance: random.Random, values: dict[str, Any]) -> None:
    leaves = [(part, key) for part, key in parts(values) if not isinstance(part[key], dict | list)]
    part, key = chance.choice(leaves)
    wrong = [value for value in WRONG if not (key == "admin" and value is True) and not _is_text(key, value)]
    part[key] = chance.choice(wrong)


def _is_text(key: object, value: object) -> bool:
    """Free text may be any one line of at most 512 characters."""
    free = key in {"why", "issuer", "audience", "san", "directory", "jwks_file", "api_keys_file", "device", "node"}
    claims = key in {"tenant_claim", "subject_claim"}
    return (free or claims) and isinstance(value, str) and "\n" not in value and "\x00" not in value


def swap_kinds(chance: random.Random, values: dict[str, Any]) -> None:
    branches = [(part, key) for part, key in parts(values) if isinstance(part[key], dict | list)]
    part, key = chance.choice(branches)
    part[key] = chance.choice([0, "any", False, list(part[key].items()) if isinstance(part[key], dict) else {"0": 1}])


def contradict(chance: random.Random, values: dict[str, Any]) -> None:
    rule = chance.choice([each for each in values["rules"] if each["effect"] == "permit"])
    what: dict[str, Any] = chance.choice(
        [
            {"effect": "forbid"},
            {"protection": chance.choice(["dp", "NONE", "local_dp"])},
            {"arrives": ["none"]},
            {"tenants": ["someone-else"]},
            {"models": ["some-other"]},
            {"methods": ["generate", "search-encrypted"]},
            {"name": ""},
        ]
    )
    rule.update(what)


def repeat_rule(chance: random.Random, values: dict[str, Any]) -> None:
    values["rules"].append(deepcopy(chance.choice(values["rules"])))


BREAKS: tuple[Break, ...] = (leave_out, add_unknown, put_wrong, swap_kinds, contradict, repeat_rule)


def test_policies_that_are_broken_in_their_values_are_all_refused() -> None:
    chance = random.Random(4)
    for number in range(COUNT):
        values = deepcopy(chance.choice(VALUES))
        how = BREAKS[number % len(BREAKS)]
        how(chance, values)
        found = examine(json.dumps(values).replace("Infinity", ".inf").replace("NaN", ".nan").encode(), Path("/x"))
        assert found.policy is None and found.complaints, f"{how.__name__} no. {number} was believed: {values}"


def machinery(chance: random.Random, text: bytes) -> bytes:
    """Something of YAML that a policy may not use, at the place of some value."""
    lines = text.splitlines()
    number = chance.choice([index for index, line in enumerate(lines) if b": " in line and b"#" not in line])
    key = lines[number].partition(b": ")[0].replace(b"{", b"").replace(b"- ", b"  ")
    bad = [
        b"&a x",
        b"*a",
        b"!!python/name:os.system",
        b"!x y",
        b"[" * 40,
        b"{a: " * 40,
        b"\x07",
        b"\xc3",
        b"'",
        b"|\n x\n\ty",
    ]
    lines[number] = key + b": " + chance.choice(bad)
    return b"\n".join(lines)


def repeated_line(chance: random.Random, text: bytes) -> bytes:
    """A top-level key twice."""
    key = chance.choice([b"version: 1", b"name: twice", b"tenants: [x]", b"rules: []"])
    return text + b"\n" + key + b"\n" if chance.random() < 0.5 else key + b"\n" + text


def cut_short(chance: random.Random, text: bytes) -> bytes:
    """Cut before the rules begin to end: something that is needed is gone."""
    return text[: chance.randrange(text.index(b"rules:"))]


def noise(chance: random.Random, text: bytes) -> bytes:
    start = chance.randrange(len(text))
    return text[:start] + chance.randbytes(chance.randint(1, 40)) + text[start:]


def nothing_but_noise(chance: random.Random, text: bytes) -> bytes:
    return chance.randbytes(chance.randrange(2000))


def test_policies_that_are_broken_in_their_text_are_all_refused(tmp_path: Path) -> None:
    chance = random.Random(5)
    file = tmp_path / "policy.yaml"
    file.touch(mode=0o600)
    for number in range(COUNT):
        how = (machinery, repeated_line, cut_short, nothing_but_noise)[number % 4]
        file.write_bytes(how(chance, chance.choice(TEXTS)))
        with pytest.raises(PolicyError):
            load_policy(file)


def test_noise_in_a_text_is_refused_or_believed_as_another_policy() -> None:
    chance = random.Random(6)
    revisions = {examine(text, Path()).policy.revision for text in TEXTS}  # type: ignore[union-attr]
    refused = 0
    for _ in range(1000):
        found = examine(noise(chance, chance.choice(TEXTS)), Path())
        assert (found.policy is None) == bool(found.complaints)
        assert found.policy is None or found.policy.revision not in revisions
        refused += found.policy is None
    assert refused > 900
