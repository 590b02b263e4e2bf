"""YAML as pure data: plain values and the line of each, from a small subset of the language.

Knows nothing of policies. Only the parser's events are used and no constructor, so that no tag can make anything;
anchors, aliases, tags, merge keys and repeated keys are refused, and size, depth and number of values are bounded.
Plain scalars mean what YAML 1.2's core schema says (https://yaml.org/spec/1.2.2/#103-core-schema): `no` is a word.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import yaml

from privacy.errors import PolicyError

MAX_BYTES = 256 * 1024
MAX_DEPTH = 12
MAX_VALUES = 20_000

#: Where a value stands: keys and positions from the document's root.
Path = tuple[str | int, ...]
Value = str | int | float | bool | None | list["Value"] | dict[str, "Value"]

#: Characters that make an editor show text in another order than it is read in.
_BIDIRECTIONAL = re.compile("[\u202a-\u202e\u2066-\u2069]")
_WORDS: Mapping[str, bool | None] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
_INTEGER = re.compile(r"[-+]?[0-9]{1,18}")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")


@dataclass(frozen=True, slots=True)
class Document:
    """The file's values, and the line (from 1) on which each begins."""

    values: dict[str, Value]
    lines: Mapping[Path, int]

    def line(self, path: Path) -> int:
        """The line of the value, or of the nearest thing around it that is there."""
        while path and path not in self.lines:
            path = path[:-1]
        return self.lines.get(path, 1)


def read_document(data: bytes) -> Document:
    """Read one mapping. Raises PolicyError, with the line where there is one, for everything else."""
    text = _decode(data)
    builder = _Builder(_events(text))
    try:
        return builder.document()
    except yaml.MarkedYAMLError as error:
        line = f"line {error.problem_mark.line + 1}: " if error.problem_mark else ""
        raise PolicyError(f"{line}this is not YAML: {error.problem or 'it cannot be parsed'}") from None
    except yaml.YAMLError:
        raise PolicyError("the file holds a character that YAML does not allow; write plain text") from None


def _decode(data: bytes) -> str:
    if len(data) > MAX_BYTES:
        raise PolicyError(f"the file has {len(data)} bytes and a policy at most {MAX_BYTES}; split it by server")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise PolicyError("the file is not UTF-8; save it as UTF-8") from None
    if found := _BIDIRECTIONAL.search(text):
        line = text.count("\n", 0, found.start()) + 1
        raise PolicyError(f"line {line}: a character here reverses the text that follows; remove it")
    return text


def _events(text: str) -> Iterator[yaml.Event]:
    return yaml.parse(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))


@dataclass(slots=True)
class _Builder:
    """Turns events into values. Recursion is bounded by MAX_DEPTH."""

    events: Iterator[yaml.Event]
    lines: dict[Path, int] = field(default_factory=dict)

    def document(self) -> Document:
        next(self.events)  # The stream's start.
        if isinstance(next(self.events), yaml.StreamEndEvent):
            raise PolicyError("the file is empty; begin with `version: 1`")
        values = self._value(next(self.events), ())
        next(self.events)  # The document's end.
        if not isinstance(next(self.events), yaml.StreamEndEvent):
            raise PolicyError("the file holds several documents; keep one, without `---` between")
        if not isinstance(values, dict):
            raise PolicyError("line 1: a policy is names and values, as in `version: 1`")
        return Document(values, self.lines)

    def _value(self, event: yaml.Event, path: Path) -> Value:
        line = _line(event)
        self.lines[path] = line
        _refuse_machinery(event, line)
        if len(self.lines) > MAX_VALUES:
            raise PolicyError(f"line {line}: the file holds more than {MAX_VALUES} values; split it by server")
        if len(path) >= MAX_DEPTH and not isinstance(event, yaml.ScalarEvent):
            raise PolicyError(f"line {line}: values are nested deeper than {MAX_DEPTH}; nothing in a policy is")
        if isinstance(event, yaml.MappingStartEvent):
            return self._mapping(path)
        if isinstance(event, yaml.SequenceStartEvent):
            return self._sequence(path)
        assert isinstance(event, yaml.ScalarEvent), "an alias was refused, and there are no other events"
        return _scalar(event)

    def _mapping(self, path: Path) -> dict[str, Value]:
        values: dict[str, Value] = {}
        while not isinstance(event := next(self.events), yaml.MappingEndEvent):
            key = _key(event)
            if key in values:
                raise PolicyError(f"line {_line(event)}: {key[:80]!r} is given twice; keep one")
            values[key] = self._value(next(self.events), (*path, key))
            # A key's line is where a reader looks for it, also where its value begins below.
            self.lines[(*path, key)] = _line(event)
        return values

    def _sequence(self, path: Path) -> list[Value]:
        values: list[Value] = []
        while not isinstance(event := next(self.events), yaml.SequenceEndEvent):
            values.append(self._value(event, (*path, len(values))))
        return values


def _line(event: yaml.Event) -> int:
    return event.start_mark.line + 1 if event.start_mark else 1


def _refuse_machinery(event: yaml.Event, line: int) -> None:
    if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
        raise PolicyError(f"line {line}: anchors (&) and aliases (*) are refused; write the value out")
    if getattr(event, "tag", None):
        raise PolicyError(f"line {line}: tags (!) are refused; write a plain value")


def _key(event: yaml.Event) -> str:
    line = _line(event)
    _refuse_machinery(event, line)
    if not isinstance(event, yaml.ScalarEvent):
        raise PolicyError(f"line {line}: a key must be one word, not a list or a mapping")
    if event.value == "<<":
        raise PolicyError(f"line {line}: the merge key (<<) is refused; write the values out")
    return str(event.value)


def _scalar(event: yaml.ScalarEvent) -> Value:
    text = str(event.value)
    if not event.implicit[0]:  # Quoted, or a block of text.
        return text
    if text in _WORDS:
        return _WORDS[text]
    if _INTEGER.fullmatch(text):
        return int(text)
    return _number(text) if _FLOAT.fullmatch(text) else text


def _number(text: str) -> float:
    return float(text.lower().replace(".inf", "inf").replace(".nan", "nan"))
