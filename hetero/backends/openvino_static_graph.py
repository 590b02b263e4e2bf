"""Decoder graphs of one fixed shape: their conversion to OpenVINO, and a compiled one's call.

Knows shapes and types of inputs and outputs; knows no cache and no batch.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hetero.backends.openvino_calling import infer
from hetero.backends.openvino_tracing import convert_traced
from hetero.backends.static_decoder import StaticDecoder, StaticShape, example_inputs
from hetero.models.config import DecoderConfig
from hetero.models.decoder import DecoderHead


def convert_static(module: StaticDecoder, config: DecoderConfig, shape: StaticShape, cache: np.dtype[Any]) -> Any:
    """`module` for one shape; past and new keys and values are of the type `cache`, everything else is fp32."""
    example = example_inputs(config, shape, module.windows, module.block_count, torch.float32)
    # One tensor given twice would become one input.
    model = _fixed(convert_traced(module, tuple(value.clone() for value in example)), example)
    return _typed(model, 3 + len(module.windows), cache)


def convert_static_head(head: DecoderHead, rows: int, hidden_size: int) -> Any:
    """[rows, D] to [rows, V], both fp32."""
    example = (torch.zeros(rows, hidden_size),)
    return _fixed(convert_traced(head, example), example)


def _fixed(model: Any, example: Sequence[Tensor]) -> Any:
    import openvino as ov

    for parameter, value in zip(model.get_parameters(), example, strict=True):
        parameter.set_partial_shape(ov.PartialShape(list(value.shape)))
    model.validate_nodes_and_infer_types()
    return model


def _typed(model: Any, first_cache: int, cache: np.dtype[Any]) -> Any:
    from openvino.preprocess import PrePostProcessor

    steps = PrePostProcessor(model)
    for i in range(first_cache, len(model.inputs)):
        steps.input(i).tensor().set_element_type(_engine_type(cache))
    for i in range(1, len(model.outputs)):
        steps.output(i).tensor().set_element_type(_engine_type(cache))
    return steps.build()


def _engine_type(dtype: np.dtype[Any]) -> Any:
    import openvino as ov

    return ov.Type(dtype)


class StaticRequest:
    """One compiled form."""

    def __init__(self, compiled: Any) -> None:
        self._request = compiled.create_infer_request()
        self._ports = compiled.inputs
        self._output_count = len(compiled.outputs)

    def run(self, values: Sequence[NDArray[Any]]) -> list[NDArray[Any]]:
        """All outputs, in the engine's memory until the next call. Raises BackendError."""
        infer(self._request, zip(self._ports, values, strict=True))
        return [self._request.get_output_tensor(i).data for i in range(self._output_count)]
