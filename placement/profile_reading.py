"""Strict reading of frozen dataclasses from parsed JSON: every field there, of its type, and no other.

Knows the types that profiles are made of: text, whole numbers, seconds, tuples of these, and a choice of words.
"""

from collections.abc import Sequence
from dataclasses import MISSING, fields
from typing import Any, Literal, TypeVar, get_args, get_origin

from placement.errors import ProfileError

Record = TypeVar("Record")


def read_records(kind: type[Record], documents: Any, name: str) -> tuple[Record, ...]:
    """A list of records of one kind. Raises ProfileError naming the record by its place in the list."""
    if not isinstance(documents, (list, tuple)):
        raise ProfileError(f"the profile's {name} must be a list, not {type(documents).__name__}")
    return tuple(read_record(kind, document, f"{name}[{index}]") for index, document in enumerate(documents))


def read_record(kind: type[Record], document: Any, name: str) -> Record:
    """One record. Raises ProfileError for a field that is absent, unknown or of another type."""
    if not isinstance(document, dict):
        raise ProfileError(f"the profile's {name} must be an object, not {type(document).__name__}")
    known = {field.name: field for field in fields(kind)}  # type: ignore[arg-type]
    unknown = sorted(set(document) - set(known))
    if unknown:
        raise ProfileError(f"the profile's {name} has an unknown field {unknown[0]!r}")
    absent = [key for key, field in known.items() if field.default is MISSING and key not in document]
    if absent:
        raise ProfileError(f"the profile's {name} lacks {absent[0]!r}")
    return kind(**{key: _value(known[key].type, value, f"{name}.{key}") for key, value in document.items()})


def _value(wanted: Any, value: Any, name: str) -> Any:
    if get_origin(wanted) is tuple:
        return _tuple(get_args(wanted), value, name)
    if get_origin(wanted) is Literal:
        return _word(get_args(wanted), value, name)
    if wanted is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, wanted) or isinstance(value, bool):
        raise ProfileError(f"the profile's {name} is {value!r}; it must be of type {wanted.__name__}")
    return value


def _word(words: Sequence[str], value: Any, name: str) -> Any:
    if value not in words:
        raise ProfileError(f"the profile's {name} is {value!r}; it must be one of {', '.join(words)}")
    return value


def _tuple(kinds: Sequence[Any], value: Any, name: str) -> tuple[Any, ...]:
    if not isinstance(value, (list, tuple)):
        raise ProfileError(f"the profile's {name} must be a list, not {type(value).__name__}")
    if len(kinds) == 2 and kinds[1] is Ellipsis:
        return tuple(_value(kinds[0], item, f"{name}[{index}]") for index, item in enumerate(value))
    if len(kinds) != len(value):
        raise ProfileError(f"the profile's {name} must have {len(kinds)} entries, not {len(value)}")
    pairs = enumerate(zip(kinds, value, strict=True))
    return tuple(_value(kind, item, f"{name}[{index}]") for index, (kind, item) in pairs)
