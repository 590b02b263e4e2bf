"""YAML as data: what plain scalars mean, and everything that is refused before a policy is even looked at."""

import math

import pytest

from privacy.errors import PolicyError
from privacy.policy.yaml import MAX_BYTES, MAX_DEPTH, MAX_VALUES, read_document


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-6", 1e-6),
        ("8.0", 8.0),
        ("007", 7),
        ("-3", -3),
        ("true", True),
        ("~", None),
        ("", None),
        ("no", "no"),
        ("off", "off"),
        ("1:30", "1:30"),
        ("2026-01-31", "2026-01-31"),
        ("0x10", "0x10"),
        ("1_000", "1_000"),
        ("'1'", "1"),
        ('"true"', "true"),
        (".inf", math.inf),
        ("99999999999999999999", 1e20),
    ],
)
def test_plain_scalar_means_what_the_core_schema_says(text: str, value: object) -> None:
    found = read_document(f"key: {text}".encode()).values["key"]
    assert found == value
    assert type(found) is type(value)


def test_values_know_their_lines() -> None:
    document = read_document(b"a: 1\nb:\n  - c: 2\n  # a note\n  - d:\n      3\n")
    assert [document.line(path) for path in [("a",), ("b", 0, "c"), ("b", 1, "d"), ("b", 1, "none", "x")]] == [
        1,
        3,
        5,
        5,
    ]


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "the file is empty"),
        (b"# only a note\n", "the file is empty"),
        (b"[1, 2]", "names and values"),
        (b"word", "names and values"),
        (b"a: 1\na: 2\n", "line 2: 'a' is given twice"),
        (b"a: 1\n'a': 2\n", "line 2: 'a' is given twice"),
        (b"a:\n  b: {c: 1, c: 2}\n", "line 2: 'c' is given twice"),
        (b"a: &x [1]\n", "line 1: anchors"),
        (b"a: 1\nb: *a\n", "line 2: anchors"),
        (b"a: !!python/object/apply:os.system [id]\n", "line 1: tags"),
        (b"a: !secret x\n", "line 1: tags"),
        (b"!!str a: 1\n", "line 1: tags"),
        (b"base: {x: 1}\nrule: {<<: {x: 1}}\n", "line 2: the merge key"),
        (b"? [a, b]\n: 1\n", "a key must be one word"),
        (b"a: 1\n---\nb: 2\n", "several documents"),
        (b"a: [1, 2\n", "this is not YAML"),
        (b"a: b: c\n", "line 1: this is not YAML"),
        (b"a: \xff\n", "not UTF-8"),
        (b"a: \x00\n", "a character that YAML does not allow"),
        ("ok: 1\nadmin: \u202efalse\n".encode(), "line 2: a character here reverses"),
        (b"a: " + b"x" * MAX_BYTES, "bytes and a policy at most"),
        (b"a: " + b"[" * 50_000, f"nested deeper than {MAX_DEPTH}"),
        (b"{a: " * 50_000, f"nested deeper than {MAX_DEPTH}"),
        (b"a: [" + b"1," * (MAX_VALUES + 1) + b"]", f"more than {MAX_VALUES} values"),
    ],
)
def test_what_is_no_plain_data_is_refused(data: bytes, said: str) -> None:
    with pytest.raises(PolicyError, match=said.replace("(", r"\(")):
        read_document(data)


def test_message_does_not_grow_with_the_file() -> None:
    key = b"k" * 100_000
    with pytest.raises(PolicyError) as raised:
        read_document(key + b": 1\n" + key + b": 2\n")
    assert len(str(raised.value)) < 200
