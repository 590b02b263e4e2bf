"""Reading a model folder's JSON files: what is missing, unreadable or of the wrong kind becomes one clear ModelError.

Knows files and types of values; knows nothing of what the values mean.
"""

import json
from dataclasses import dataclass
from pathlib import Path

from hetero.errors import ModelError


def read_json(path: Path) -> dict[str, object]:
    """The object in `path`. Raises ModelError where the file is missing, unreadable or not a JSON object."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ModelError(f"{path} is missing: give a Hugging Face model folder that holds {path.name}.") from None
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ModelError(f"{path} cannot be read as JSON ({error}): fetch the file again.") from None
    if not isinstance(value, dict):
        raise ModelError(f"{path} holds no JSON object: fetch the file again.")
    return value


@dataclass(frozen=True, slots=True)
class Fields:
    """The values of one JSON object, checked as they are taken; `names` are aliases, the first that is set counts."""

    path: Path
    values: dict[str, object]

    def get(self, *names: str) -> object:
        return next((self.values[name] for name in names if self.values.get(name) is not None), None)

    def is_null(self, name: str) -> bool:
        """Whether `name` is written as null, which for some keys is not the same as its absence."""
        return name in self.values and self.values[name] is None

    def _wrong(self, name: str, value: object, wanted: str) -> ModelError:
        found = "missing" if value is None else repr(value)
        return ModelError(f"{self.path}: '{name}' is {found}, but must be {wanted}: mend it or fetch it again.")

    def count(self, *names: str, default: int | None = None, least: int = 1) -> int:
        """A whole number of at least `least`."""
        value = self.get(*names)
        value = default if value is None else value
        if not isinstance(value, int) or isinstance(value, bool) or value < least:
            raise self._wrong(names[0], value, f"a whole number of at least {least}")
        return value

    def number(self, *names: str, default: float | None = None) -> float:
        """A finite number above zero."""
        value = self.get(*names)
        value = default if value is None else value
        if not isinstance(value, int | float) or isinstance(value, bool) or not 0 < value < float("inf"):
            raise self._wrong(names[0], value, "a number above 0")
        return float(value)

    def flag(self, name: str, default: bool) -> bool:
        value = self.get(name)
        value = default if value is None else value
        if not isinstance(value, bool):
            raise self._wrong(name, value, "true or false")
        return value

    def text(self, *names: str, default: str | None = None) -> str:
        value = self.get(*names)
        value = default if value is None else value
        if not isinstance(value, str):
            raise self._wrong(names[0], value, "a text")
        return value

    def one_of(self, *names: str, options: dict[str, str], default: str | None = None) -> str:
        """A text among the keys of `options`; gives what it maps to."""
        value = self.text(*names, default=default)
        if value not in options:
            raise self._wrong(names[0], value, "one of " + ", ".join(sorted(options)))
        return options[value]

    def refuse(self, name: str, value: object, why: str) -> ModelError:
        """The error for a value that is valid but not supported."""
        return ModelError(f"{self.path}: '{name}' is {value!r}, which is not supported: {why}.")
