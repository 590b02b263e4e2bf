"""From a torch module to an ONNX graph that names its weights and does not hold them.

Knows the exporter and its warnings; knows no provider. Weights stay where torch has them: the graph's file form is
bounded to 2 GB, and every runner made from one module shares them.
"""

import io
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor, nn

OPSET = 17


@dataclass(frozen=True, slots=True)
class OnnxGraph:
    """A graph without weights (`model`, serialised) and the weights by name, sharing the module's memory."""

    model: bytes
    weights: dict[str, NDArray[Any]]


@contextmanager
def _quiet_exporter() -> Iterator[None]:
    """The tracing exporter is deprecated in favour of one that needs onnxscript; it is what writes static graphs."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "You are using the legacy TorchScript-based ONNX export", DeprecationWarning)
        warnings.filterwarnings("ignore", "The feature will be removed", DeprecationWarning, r"torch\.onnx\.")
        yield


def export_graph(
    module: nn.Module,
    example: tuple[Tensor, ...],
    input_names: Sequence[str],
    output_names: Sequence[str],
    dynamic_axes: Mapping[str, Mapping[int, str]] | None = None,
) -> OnnxGraph:
    """Trace `module` on `example`. Dimensions are fixed except those in `dynamic_axes` (input: {dimension: name})."""
    written = io.BytesIO()
    with _quiet_exporter(), torch.no_grad():
        torch.onnx.export(
            module.eval(),
            example,
            written,  # type: ignore[arg-type]  # the tracing exporter writes to any file
            input_names=list(input_names),
            output_names=list(output_names),
            dynamic_axes=dynamic_axes,
            opset_version=OPSET,
            export_params=False,
            do_constant_folding=False,  # folded weights would be copies under other names
            dynamo=False,
        )
    weights = {name: tensor.detach().numpy() for name, tensor in module.state_dict().items()}
    return _name_weights(written.getvalue(), weights)


def _name_weights(model: bytes, weights: dict[str, NDArray[Any]]) -> OnnxGraph:
    """The exporter leaves weights as graph inputs; make them initialisers that are given when the graph is loaded."""
    import onnx

    proto = onnx.load_from_string(model)
    inputs = [value for value in proto.graph.input if value.name not in weights]
    used = [value for value in proto.graph.input if value.name in weights]
    for value in used:
        proto.graph.initializer.append(_given_later(value, weights[value.name]))
    del proto.graph.input[:]
    proto.graph.input.extend(inputs)
    return OnnxGraph(proto.SerializeToString(), {value.name: weights[value.name] for value in used})


def _given_later(value: Any, array: NDArray[Any]) -> Any:
    import onnx

    tensor = onnx.TensorProto(
        name=value.name,
        data_type=value.type.tensor_type.elem_type,
        dims=array.shape,
        data_location=onnx.TensorProto.EXTERNAL,
    )
    tensor.external_data.add(key="location", value="given-when-loaded")
    return tensor
