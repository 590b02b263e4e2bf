"""Encrypted models as files: safetensors with the layers' numbers, and metadata that says what they are.

Tensors `0.weight`, `0.bias`, `1.weight` ... in the order of the layers (a bias may be left out). Metadata: `kind`
(classify, search or layer), `labels` and `activations` as JSON, `parameters`, `encoder`. Plain `weight` and `bias` are
a single layer. No pickles are read.
"""

import json
from pathlib import Path

import numpy as np

from privacy.errors import EncryptionError
from privacy.he.activation import Quadratic, activation_named
from privacy.he.packing import Floats
from privacy.he.spec import Kind, ModelSpec, head_spec, linear_spec

_MOST_LAYERS = 8


def save_spec(path: Path, spec: ModelSpec) -> None:
    """Write a model; numbers are kept as float32. Raises EncryptionError where the file cannot be written."""
    from safetensors.numpy import save_file

    tensors = {}
    for number, layer in enumerate(spec.layers):
        tensors[f"{number}.weight"] = np.ascontiguousarray(layer.weight, np.float32)
        tensors[f"{number}.bias"] = np.ascontiguousarray(layer.bias, np.float32)
    metadata = {
        "kind": spec.kind.value,
        "labels": json.dumps(spec.labels),
        "activations": json.dumps([[each.constant, each.linear, each.square] for each in spec.activations]),
        "parameters": spec.parameters,
        "encoder": spec.encoder,
    }
    try:
        save_file(tensors, path, metadata)
    except OSError:
        raise EncryptionError(f"{path} cannot be written") from None


def load_spec(path: Path, name: str | None = None, parameters: str | None = None) -> ModelSpec:
    """The model of a file, named by its stem unless `name` is given; `parameters` stands for the file's own.

    Raises EncryptionError where the file is missing or does not hold such a model.
    """
    tensors, metadata = _read(path)
    try:
        labels = tuple(str(label) for label in json.loads(metadata.get("labels", "[]")))
        activations = [_activation(each) for each in json.loads(metadata.get("activations", "[]"))]
        kind = Kind(metadata.get("kind", Kind.CLASSIFY if labels else Kind.LAYER))
    except (ValueError, TypeError):
        raise EncryptionError(f"{path} has metadata that cannot be read: labels, activations or kind") from None
    layers, called = _layers(tensors, path), name or path.stem
    chosen = parameters or metadata.get("parameters")
    encoder = metadata.get("encoder", "")
    if len(layers) == 1:
        weight, bias = layers[0]
        return linear_spec(
            called, weight, bias, kind=kind, labels=labels, parameters=chosen or "ckks-8192-1", encoder=encoder
        )
    return head_spec(called, layers, activations, kind=kind, labels=labels, parameters=chosen or None, encoder=encoder)


def _read(path: Path) -> tuple[dict[str, Floats], dict[str, str]]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "np") as file:
            names = list(file.keys())
            return {name: file.get_tensor(name) for name in names}, dict(file.metadata() or {})
    except OSError as error:
        raise EncryptionError(f"{path} cannot be read: {error.strerror or error}") from None
    except (SafetensorError, TypeError):
        raise EncryptionError(f"{path} is no safetensors file of numbers; write one with `save_spec`") from None


def _layers(tensors: dict[str, Floats], path: Path) -> list[tuple[Floats, Floats | None]]:
    if "weight" in tensors:
        return [(tensors["weight"], tensors.get("bias"))]
    numbers = [number for number in range(_MOST_LAYERS) if f"{number}.weight" in tensors]
    if not numbers:
        raise EncryptionError(f"{path} holds no layer; its tensors should be `weight` and `bias`, or `0.weight` ...")
    return [(tensors[f"{number}.weight"], tensors.get(f"{number}.bias")) for number in numbers]


def _activation(each: object) -> Quadratic:
    """A name, or three coefficients."""
    if isinstance(each, str):
        return activation_named(each)
    constant, linear, square = (float(value) for value in each)  # type: ignore[attr-defined]
    return Quadratic(constant, linear, square)
