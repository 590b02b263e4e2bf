"""What is served encrypted: dense layers with parabolas between them, labels, and the parameter set they need.

Plain numbers and their digest; where they lie in ciphertexts is `planning.py`'s, and files are `files.py`'s.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property
from itertools import pairwise

import numpy as np
from numpy.typing import ArrayLike

from privacy.errors import EncryptionError
from privacy.he.activation import Quadratic
from privacy.he.packing import Floats
from privacy.he.parameters import named_parameters, smallest_for


class Kind(StrEnum):
    """What an answer means to who decrypts it."""

    CLASSIFY = "classify"
    SEARCH = "search"
    LAYER = "layer"


@dataclass(frozen=True, slots=True)
class Dense:
    """y = weight x + bias: float64 [rows, columns] and [rows]."""

    weight: Floats
    bias: Floats

    def __call__(self, vectors: Floats) -> Floats:
        """[n, columns] to [n, rows], in the clear."""
        return np.asarray(vectors @ self.weight.T + self.bias)


@dataclass(frozen=True)
class ModelSpec:
    """Layers with an activation between each two. Labels name the last layer's rows: classes, or documents."""

    name: str
    kind: Kind
    layers: tuple[Dense, ...]
    activations: tuple[Quadratic, ...] = ()
    labels: tuple[str, ...] = ()
    parameters: str = "ckks-8192-1"
    #: The folder or hub id of the encoder whose vectors this takes, where it is known.
    encoder: str = field(default="", compare=False)

    @property
    def columns(self) -> int:
        return int(self.layers[0].weight.shape[1])

    @property
    def rows(self) -> int:
        return int(self.layers[-1].weight.shape[0])

    @cached_property
    def digest(self) -> str:
        """SHA-256 of everything that an answer depends on."""
        head = [self.kind.value, self.parameters, [self._activation(each) for each in self.activations]]
        found = hashlib.sha256(json.dumps(head).encode())
        for layer in self.layers:
            for array in (layer.weight, layer.bias):
                found.update(str(array.shape).encode() + np.ascontiguousarray(array).tobytes())
        return found.hexdigest()

    def in_the_clear(self, vectors: Floats) -> Floats:
        """What the ciphertexts decrypt to, up to their error: float64 [n, columns] to [n, rows]."""
        values = self.layers[0](np.asarray(vectors, np.float64))
        for activation, layer in zip(self.activations, self.layers[1:], strict=True):
            values = layer(activation(values))
        return values

    @staticmethod
    def _activation(each: Quadratic) -> tuple[float, float, float]:
        return each.constant, each.linear, each.square


def linear_spec(
    name: str,
    weight: ArrayLike,
    bias: ArrayLike | None = None,
    *,
    kind: Kind = Kind.LAYER,
    labels: Sequence[str] = (),
    parameters: str = "ckks-8192-1",
    encoder: str = "",
) -> ModelSpec:
    """One linear layer, float [rows, columns]. Raises EncryptionError where the numbers cannot be used."""
    return _checked(ModelSpec(name, kind, (_dense(weight, bias),), (), tuple(labels), parameters, encoder))


def head_spec(
    name: str,
    layers: Sequence[tuple[ArrayLike, ArrayLike | None]],
    activations: Sequence[Quadratic],
    *,
    kind: Kind = Kind.CLASSIFY,
    labels: Sequence[str] = (),
    parameters: str | None = None,
    encoder: str = "",
) -> ModelSpec:
    """Layers with activations between; without `parameters` the cheapest set that is deep enough.

    Raises EncryptionError where the numbers, their shapes or the set do not fit.
    """
    depth = 2 * len(layers) - 1
    dense = tuple(_dense(weight, bias) for weight, bias in layers)
    chosen = parameters or smallest_for(depth).name
    spec = _checked(ModelSpec(name, kind, dense, tuple(activations), tuple(labels), chosen, encoder))
    if named_parameters(chosen).depth < depth:
        raise EncryptionError(f"the head needs depth {depth}, which {chosen} does not have")
    return spec


def _dense(weight: ArrayLike, bias: ArrayLike | None) -> Dense:
    matrix = np.asarray(weight, np.float64)
    if matrix.ndim != 2 or 0 in matrix.shape:
        raise EncryptionError("a layer's weight is a matrix of at least one row and one column")
    added = np.zeros(len(matrix)) if bias is None else np.asarray(bias, np.float64)
    if added.shape != (len(matrix),) or not (np.isfinite(matrix).all() and np.isfinite(added).all()):
        raise EncryptionError("a layer needs one finite bias a row, and finite weights")
    return Dense(matrix, added)


def _checked(spec: ModelSpec) -> ModelSpec:
    named_parameters(spec.parameters)
    widths = [layer.weight.shape for layer in spec.layers]
    if not widths or len(spec.activations) != len(widths) - 1:
        raise EncryptionError("a head needs one activation between each two layers")
    if any(before[0] != after[1] for before, after in pairwise(widths)):
        raise EncryptionError("each layer of a head takes as many numbers as the one before it gives")
    if spec.labels and len(spec.labels) != spec.rows:
        raise EncryptionError(f"{spec.name} has {spec.rows} rows and {len(spec.labels)} labels")
    return spec
