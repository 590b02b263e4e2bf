"""Texts with labels, out of a TSV file: one text a line, and behind a tab its label.

Knows lines and labels; knows no model.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hetero.batch import LongArray
from hetero.errors import InvalidRequestError


@dataclass(frozen=True, slots=True)
class LabelledTexts:
    """`labels`: int64 [N], indices into `names`; None where the file has only texts."""

    texts: tuple[str, ...]
    labels: LongArray | None
    names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.texts)

    def take(self, rows: LongArray) -> "LabelledTexts":
        labels = None if self.labels is None else self.labels[rows]
        return LabelledTexts(tuple(self.texts[int(row)] for row in rows), labels, self.names)


def read_texts_file(path: Path, names: Sequence[str] = ()) -> LabelledTexts:
    """Read `path`; labels are names or numbers. With a model's `names` given, labels must be of them.

    Raises InvalidRequestError, naming the line, for a file that is unreadable, empty, half labelled, or has a label
    that the model lacks.
    """
    rows = [line.rstrip("\r").rsplit("\t", 1) for line in _lines(path) if line.strip()]
    if not rows:
        raise InvalidRequestError(f"{path} holds no text; give one text a line, with a tab and a label behind it")
    odd = next((number for number, row in enumerate(rows, 1) if len(row) != len(rows[0])), None)
    if odd is not None:
        raise InvalidRequestError(f"{path}: text {odd} and the first one differ in having a label; label all or none")
    texts = tuple(row[0] for row in rows)
    if len(rows[0]) == 1:
        return LabelledTexts(texts, None, tuple(names))
    written = [row[1].strip() for row in rows]
    known = tuple(names) or _names_of(written)
    return LabelledTexts(texts, _indices(path, written, known), known)


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8").split("\n")
    except OSError as error:
        raise InvalidRequestError(f"{path} cannot be read: {error.strerror}; give a TSV file") from None
    except UnicodeDecodeError:
        raise InvalidRequestError(f"{path} is not UTF-8; convert it first") from None


def _names_of(written: Sequence[str]) -> tuple[str, ...]:
    """Numbers in their own order, else names by the alphabet."""
    distinct = set(written)
    if all(name.isascii() and name.isdigit() for name in distinct):
        return tuple(str(number) for number in range(max(map(int, distinct)) + 1))
    return tuple(sorted(distinct))


def _indices(path: Path, written: Sequence[str], names: Sequence[str]) -> LongArray:
    """A label is one of the names, or the number of one."""
    index = {str(number): number for number in range(len(names))} | {name: i for i, name in enumerate(names)}
    for row, label in enumerate(written, 1):
        if label not in index:
            raise InvalidRequestError(
                f"{path}: text {row} has the label {label!r}, but the labels are {', '.join(names)}"
                f" or 0 to {len(names) - 1}"
            )
    return np.array([index[label] for label in written], np.int64)
