"""From a torch module to an OpenVINO model that shares the module's weights: nothing is copied or widened.

Knows tracing; knows neither decoders nor encoders, nor devices.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn


@dataclass(frozen=True, slots=True)
class Marker:
    """How a marker module is converted: the name of its operation, and what makes the operation's outputs from the
    front end's context."""

    operation: str
    convert: Callable[[Any], list[Any]]


def convert_traced(module: nn.Module, example: tuple[Tensor, ...], markers: Mapping[nn.Module, Marker] = {}) -> Any:
    """Trace `module` on `example`; `markers` says how marker modules in it are converted. Inputs keep their order, and
    their shapes are still to be set.

    Matrices in two bytes stay so and are marked as compressed, so that the plugin reads them as they are; everything
    around them is traced in fp32, and the precision of the arithmetic is the plugin's setting. The front end is called
    directly: `openvino.convert_model` traces twice to compare, and takes three times as long.
    """
    from openvino.frontend import FrontEndManager
    from openvino.frontend.pytorch import ConversionExtension, ModuleExtension
    from openvino.frontend.pytorch.ts_decoder import TorchScriptPythonDecoder

    _widen_vectors(module)
    front_end = FrontEndManager().load_by_framework("pytorch")
    for marker in markers.values():
        front_end.add_extension(ConversionExtension(marker.operation, marker.convert))
    replaced: dict[Any, Any] = {child: ModuleExtension(child, marker.operation) for child, marker in markers.items()}
    replaced[nn.Linear] = _linear_as_stored()
    with torch.no_grad():
        traced = TorchScriptPythonDecoder(
            module, example_input=example, module_extensions=replaced, trace_kwargs={"check_trace": False}
        )
    return front_end.convert(front_end.load(traced))


def _linear_as_stored() -> Any:
    """The front end's own operation for a projection whose weights are in two bytes and whose input is fp32."""
    from openvino.frontend.pytorch import ModuleExtension

    def convert(module: nn.Linear, operation: Callable[..., Tensor], x: Tensor) -> Tensor:
        return operation(x, module.weight) if module.bias is None else operation(x, module.weight, module.bias)

    def evaluate(module: nn.Linear, x: Tensor, *_parameters: Tensor) -> Tensor:
        return torch.full((*x.shape[:-1], module.out_features), 0.5)

    return ModuleExtension(nn.Linear, "ov_ext::linear", convert=convert, evaluate=evaluate)


def _widen_vectors(module: nn.Module) -> None:
    """Norms' weights to fp32, with the values that they have: torch must trace them beside fp32 hidden states."""
    for child in module.modules():
        if not isinstance(child, nn.Linear):
            for parameter in child.parameters(recurse=False):
                parameter.data = parameter.data.float()
