"""Texts into an encoder's engine, and class probabilities out of its logits.

Knows the tokenizer's and the engine's interfaces; the engine itself cuts texts into batches.
"""

from collections.abc import Sequence
from concurrent.futures import Future
from typing import Protocol

import numpy as np

from hetero.batch import FloatArray, LongArray
from hetero.errors import InvalidRequestError
from hetero.types import ClassScores

MAX_TEXTS = 2048

#: float32 [N, D] to come; cancelling it drops the texts that are in no batch yet.
Vectors = Future[FloatArray]


class TextTokenizer(Protocol):
    """What is needed of `hetero.models.tokenizer.Tokenizer`."""

    def encode_batch_padded(self, texts: Sequence[str], max_length: int) -> tuple[LongArray, LongArray, LongArray]: ...


class VectorEngine(Protocol):
    """What is needed of `hetero.engine.engine.Engine`."""

    def encode(self, token_ids: LongArray, attention_mask: LongArray, token_types: LongArray) -> Vectors: ...


def submit_texts(engine: VectorEngine, tokenizer: TextTokenizer, texts: Sequence[str], max_tokens: int) -> Vectors:
    """Send `texts` to the engine, each cut to `max_tokens` tokens. Raises InvalidRequestError where there is none."""
    check_texts(texts)
    return engine.encode(*tokenizer.encode_batch_padded(texts, max_tokens))


def check_texts(texts: Sequence[str]) -> None:
    """Raise InvalidRequestError where `texts` are not between 1 and MAX_TEXTS strings."""
    if isinstance(texts, str) or not all(isinstance(text, str) for text in texts):
        raise InvalidRequestError("the texts must be a list of strings")
    if not 1 <= len(texts) <= MAX_TEXTS:
        raise InvalidRequestError(f"{len(texts)} texts were given but a call takes from 1 to {MAX_TEXTS}")


def class_scores(logits: FloatArray, labels: tuple[str, ...]) -> list[ClassScores]:
    """Probabilities from class logits [N, C]: softmax over the labels, or the logistic function of a single one."""
    shifted = logits.astype(np.float64)
    if len(labels) == 1:
        probabilities = 1 / (1 + np.exp(-shifted))
    else:
        weights = np.exp(shifted - shifted.max(axis=1, keepdims=True))
        probabilities = weights / weights.sum(axis=1, keepdims=True)
    return [ClassScores(labels, tuple(row)) for row in probabilities.tolist()]
