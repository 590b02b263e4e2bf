"""Texts into an encoder's engine, and class probabilities out of its logits.

Knows the tokenizer's and the engine's interfaces; the engine itself cuts texts into batches.
"""

from collections.abc import Collection, Sequence
from typing import Protocol

import numpy as np

from hetero.batch import FloatArray, LongArray
from hetero.engine.encode_calls import Vectors as Vectors
from hetero.errors import InvalidRequestError
from hetero.exits.control import Limits
from hetero.types import ClassScores

MAX_TEXTS = 2048


class TextTokenizer(Protocol):
    """What is needed of `hetero.models.tokenizer.Tokenizer`."""

    def encode_batch_padded(self, texts: Sequence[str], max_length: int) -> tuple[LongArray, LongArray, LongArray]: ...


class VectorEngine(Protocol):
    """What is needed of `hetero.engine.engine.Engine`."""

    def encode(
        self, token_ids: LongArray, attention_mask: LongArray, token_types: LongArray, limits: Limits | None = None
    ) -> Vectors: ...


def submit_texts(
    engine: VectorEngine,
    tokenizer: TextTokenizer,
    texts: Sequence[str],
    max_tokens: int,
    limits: Limits | None = None,
) -> Vectors:
    """Send `texts` to the engine, each cut to `max_tokens` tokens; `limits`: where they may stop.

    Raises InvalidRequestError where there is none.
    """
    check_texts(texts)
    return engine.encode(*tokenizer.encode_batch_padded(texts, max_tokens), limits)


def check_texts(texts: Sequence[str]) -> None:
    """Raise InvalidRequestError where `texts` are not between 1 and MAX_TEXTS strings."""
    if isinstance(texts, str) or not isinstance(texts, Collection) or not all(isinstance(text, str) for text in texts):
        raise InvalidRequestError("the texts must be a list of strings")
    if not 1 <= len(texts) <= MAX_TEXTS:
        raise InvalidRequestError(f"{len(texts)} texts were given but a call takes from 1 to {MAX_TEXTS}")


def rows_of(vectors: Sequence[Sequence[float]]) -> FloatArray:
    """Rows of equal length as one array float32 [N, D]. Raises InvalidRequestError for none or ragged ones."""
    widths = {len(vector) for vector in vectors}
    if len(widths) != 1 or 0 in widths or len(vectors) > MAX_TEXTS:
        raise InvalidRequestError(f"the vectors must be from 1 to {MAX_TEXTS}, all of the same length")
    return np.array(vectors, np.float32)


def class_scores(
    logits: FloatArray, labels: tuple[str, ...], depths: Sequence[int | None] | None = None
) -> list[ClassScores]:
    """Probabilities from class logits [N, C]: softmax over the labels, or the logistic function of a single one.

    `depths`: the blocks run for each text, where they are known.
    """
    shifted = logits.astype(np.float64)
    if len(labels) == 1:
        probabilities = 1 / (1 + np.exp(-shifted))
    else:
        weights = np.exp(shifted - shifted.max(axis=1, keepdims=True))
        probabilities = weights / weights.sum(axis=1, keepdims=True)
    told = [None] * len(logits) if depths is None else depths
    return [ClassScores(labels, tuple(row), depth) for row, depth in zip(probabilities.tolist(), told, strict=True)]
