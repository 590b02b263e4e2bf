"""One loaded graph: made for a provider, checked to run wholly there, and called.

Knows ONNX Runtime's options and answers; knows no models.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hetero.backends.onnx_export import OnnxGraph
from hetero.backends.onnx_providers import CPU, CUDA, Provider
from hetero.errors import BackendError

#: Arithmetic on shapes, which CUDA's provider leaves to the host by design; everything else must be on the device.
SHAPE_OPERATORS = frozenset({"Shape", "Gather", "Unsqueeze", "Squeeze", "Concat", "Cast", "Slice", "Constant"})


class Runner:
    """A graph on one provider. Raises BackendError where the provider does not take all of it."""

    def __init__(self, graph: OnnxGraph, provider: Provider, threads: int = 0) -> None:
        self.provider = provider
        self.weight_bytes = sum(array.nbytes for array in graph.weights.values())
        self._weights = _as_values(graph)
        options = self._options(threads)
        try:
            self._ort = _open(graph.model, provider, options)
        except Exception as error:  # the library's errors share no base class
            raise BackendError(
                f"{provider.name} cannot compile the slice for {provider.device.name}: {error}"
            ) from error
        self._check_assignment()
        self.input_names = frozenset(value.name for value in self._ort.get_inputs())

    def _options(self, threads: int) -> Any:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3  # errors only
        options.intra_op_num_threads = threads
        options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
        # Stages share the cores: a waiting thread must not spin on one that another stage could use.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        if self.provider.handle is not None:
            options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
        options.add_external_initializers(list(self._weights), list(self._weights.values()))
        return options

    def _check_assignment(self) -> None:
        allowed = SHAPE_OPERATORS if self.provider.name == CUDA else frozenset()
        for part in self._ort.get_provider_graph_assignment_info():
            strays = {node.op_type for node in part.get_nodes()} - allowed
            if part.ep_name != self.provider.name and strays:
                raise BackendError(
                    f"{self.provider.name} left {', '.join(sorted(strays))} to {part.ep_name}: the slice does not run "
                    f"wholly on {self.provider.device.name}; place it on another device."
                )

    def run(self, feeds: Mapping[str, NDArray[Any]]) -> list[NDArray[Any]]:
        """All outputs, in the graph's order. Feeds that the graph does not use are left out. Raises BackendError."""
        used = {name: array for name, array in feeds.items() if name in self.input_names}
        try:
            return self._ort.run(None, used)  # type: ignore[no-any-return]
        except Exception as error:
            raise BackendError(f"{self.provider.name} failed on {self.provider.device.name}: {error}") from error

    def run_in_place(
        self, feeds: Mapping[str, NDArray[Any]], kept: Mapping[str, Any], wanted: Sequence[str]
    ) -> list[NDArray[Any]]:
        """Like `run`, with `kept` device values bound as input NAME and output NAME_out, so that nothing is copied."""
        try:
            binding = self._ort.io_binding()
            for name in self.input_names.intersection(feeds):
                binding.bind_cpu_input(name, feeds[name])
            for name in wanted:
                binding.bind_output(name, "cpu")
            for name, value in kept.items():
                binding.bind_ortvalue_input(name, value)
                binding.bind_ortvalue_output(f"{name}_out", value)
            self._ort.run_with_iobinding(binding)
            return [value.numpy() for value in binding.get_outputs()[: len(wanted)]]  # in the order of binding
        except Exception as error:
            raise BackendError(f"{self.provider.name} failed on {self.provider.device.name}: {error}") from error

    def close(self) -> None:
        """Free the engine's memory; the runner cannot be used afterwards."""
        self._ort = None
        self._weights = {}


def _as_values(graph: OnnxGraph) -> dict[str, Any]:
    """The weights as the engine's values, on the memory that torch holds."""
    import onnxruntime

    return {name: onnxruntime.OrtValue.ortvalue_from_numpy(array) for name, array in graph.weights.items()}


def _open(model: bytes, provider: Provider, options: Any) -> Any:
    import onnxruntime

    if provider.handle is not None:
        options.add_provider_for_devices([provider.handle], provider.options)
        return onnxruntime.InferenceSession(model, options)
    providers: list[Any] = [(provider.name, provider.options)]
    if provider.name != CPU:
        providers.append(CPU)
    return onnxruntime.InferenceSession(model, options, providers=providers)


def empty_cache(shape: tuple[int, ...], dtype: np.dtype[Any], provider: Provider) -> Any:
    """An engine's value of zeros on the provider's device. Raises BackendError where its memory does not suffice."""
    try:
        return _device_array(np.zeros(shape, dtype), provider)
    except Exception as error:  # numpy's MemoryError, or the library's errors, which share no base class
        raise BackendError(
            f"{provider.device.name} has not the memory for a KV cache of shape {list(shape)} in {dtype}: give it "
            f"fewer blocks, or place fewer layers there ({error})."
        ) from error


def _device_array(array: NDArray[Any], provider: Provider) -> Any:
    """An engine's value of the array: the array's own memory on the CPU, a copy on the device elsewhere."""
    import onnxruntime

    if provider.name != CUDA:
        return onnxruntime.OrtValue.ortvalue_from_numpy(array)
    return onnxruntime.OrtValue.ortvalue_from_numpy(array, "cuda", int(provider.options["device_id"]))
