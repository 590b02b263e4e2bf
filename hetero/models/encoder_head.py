"""What follows an encoder's last block, on the host in fp32: pooling to one vector a text, or a classification head.

Formulas after sentence-transformers' Pooling and Normalize modules, and after `transformers`'
BertForSequenceClassification, RobertaForSequenceClassification and DistilBertForSequenceClassification.
"""

from pathlib import Path
from typing import Protocol

import numpy as np
import torch

from hetero.batch import FloatArray, LongArray
from hetero.models import names
from hetero.models.config import EncoderConfig
from hetero.models.loading import read_source
from hetero.models.weights import Checkpoint


class EncoderHead(Protocol):
    def vectors(self, hidden: FloatArray, attention_mask: LongArray) -> FloatArray:
        """float32 [B, D] embeddings or [B, C] class logits, from hidden [B, L, D] and mask [B, L]."""
        ...


class PoolingHead:
    """One vector a text: the mean of its tokens or its first token's, of length 1 where the model says so."""

    def __init__(self, config: EncoderConfig) -> None:
        self._config = config

    def vectors(self, hidden: FloatArray, attention_mask: LongArray) -> FloatArray:
        pooled = hidden[:, 0] if self._config.pooling == "cls" else _mean(hidden, attention_mask)
        if not self._config.normalized:
            return np.ascontiguousarray(pooled, np.float32)
        unit: FloatArray = pooled / np.maximum(np.linalg.norm(pooled, axis=1, keepdims=True), 1e-12)
        return unit


class ClassificationHead:
    """Logits of the classes, from the first token: linear, tanh (DistilBERT: ReLU), linear."""

    def __init__(self, family: str, parameters: dict[str, FloatArray]) -> None:
        self._family, self.parameters = family, parameters

    def vectors(self, hidden: FloatArray, attention_mask: LongArray) -> FloatArray:
        p = self.parameters
        inner = hidden[:, 0] @ p["dense.weight"].T + p["dense.bias"]
        inner = np.maximum(inner, 0) if self._family == "distilbert" else np.tanh(inner)
        logits: FloatArray = inner @ p["out.weight"].T + p["out.bias"]
        return logits


def load_encoder_head(folder: Path, config: EncoderConfig) -> EncoderHead:
    """A classification head where the configuration has labels, else pooling. Raises ModelError."""
    if not config.labels:
        return PoolingHead(config)
    checkpoint, size, count = Checkpoint(folder), config.hidden_size, len(config.labels)
    shapes = {"dense.weight": (size, size), "dense.bias": (size,), "out.weight": (count, size), "out.bias": (count,)}
    sources = names.classification_head(checkpoint, config)
    read = {name: read_source(checkpoint, sources[name], shape) for name, shape in shapes.items()}
    return ClassificationHead(config.family, {name: t.to(torch.float32).numpy() for name, t in read.items()})


def _mean(hidden: FloatArray, attention_mask: LongArray) -> FloatArray:
    mask = attention_mask.astype(np.float32)
    summed = np.einsum("bld,bl->bd", hidden, mask)
    mean: FloatArray = summed / np.maximum(mask.sum(axis=1, keepdims=True), 1e-9)
    return mean
