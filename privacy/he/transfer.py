"""A model's numbers as bytes and back, for the way from the gateway to its worker. Plain arrays, no pickles."""

import json
from collections.abc import Sequence

import numpy as np

from privacy.he.activation import Quadratic
from privacy.he.spec import Dense, Kind, ModelSpec


def spec_to_parts(spec: ModelSpec) -> list[bytes]:
    """JSON, then each layer's weight and bias as float64. Labels stay behind: the worker needs none."""
    head = {
        "name": spec.name,
        "kind": spec.kind.value,
        "parameters": spec.parameters,
        "activations": [[each.constant, each.linear, each.square] for each in spec.activations],
        "shapes": [list(layer.weight.shape) for layer in spec.layers],
    }
    parts = [json.dumps(head).encode()]
    for layer in spec.layers:
        parts += [np.ascontiguousarray(layer.weight).tobytes(), np.ascontiguousarray(layer.bias).tobytes()]
    return parts


def spec_from_parts(parts: Sequence[bytes]) -> ModelSpec:
    """The model of `spec_to_parts`."""
    head = json.loads(parts[0])
    layers = []
    for shape, weight, bias in zip(head["shapes"], parts[1::2], parts[2::2], strict=True):
        layers.append(Dense(np.frombuffer(weight).reshape(shape), np.frombuffer(bias)))
    activations = tuple(Quadratic(*each) for each in head["activations"])
    return ModelSpec(head["name"], Kind(head["kind"]), tuple(layers), activations, (), head["parameters"])
