"""A compiled decoder graph with its own paged KV cache: sets the inputs of one step, and runs it.

Knows shapes and block tables; knows neither models nor settings.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hetero.backends.base import KvSpec
from hetero.backends.openvino_calling import infer
from hetero.batch import DecodeBatch, FloatArray
from hetero.errors import BackendError


class PagedRequest:
    """One compiled decoder slice with its caches: sets the inputs of a step and runs it."""

    def __init__(self, compiled: Any, step_inputs: Sequence[str], kv: KvSpec) -> None:
        self._request = compiled.create_infer_request()
        self._ports = dict(zip(step_inputs, compiled.inputs, strict=False))
        cache_ports = compiled.inputs[len(step_inputs) :]
        self._blocks_each = _blocks_each(kv, cache_ports)
        self._caches = _allocate_all(cache_ports, kv.block_count * self._blocks_each)
        for port, (tensor, _) in zip(cache_ports, self._caches, strict=True):
            self._request.set_tensor(port, tensor)
        self.kv_bytes = sum(memory.nbytes for _, memory in self._caches)

    def run(self, batch: DecodeBatch, hidden: FloatArray, cos: FloatArray, sin: FloatArray) -> FloatArray:
        """The step's output; it lies in the engine's memory until the next step."""
        values = {"hidden": hidden, "cos": cos, "sin": sin, **self._paging(batch), "sample_rows": batch.sample_rows}
        infer(self._request, ((port, values[name]) for name, port in self._ports.items()))
        output: FloatArray = self._request.get_output_tensor(0).data
        return output

    def _paging(self, batch: DecodeBatch) -> dict[str, NDArray[Any]]:
        blocks, begins = split_blocks(batch.block_indices, batch.block_begins, self._blocks_each)
        return {
            "past_lens": batch.past_lens,
            "begins": batch.begins,
            "block_indices": blocks,
            "block_begins": begins,
            "longest": np.array((batch.past_lens + np.diff(batch.begins)).max(), np.int32),
        }


def split_blocks(
    blocks: NDArray[np.int32], begins: NDArray[np.int32], each: int
) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """The same block tables where the engine's blocks are smaller: `each` of them make one of the pipeline's."""
    if each == 1:
        return blocks, begins
    smaller = blocks[:, None] * each + np.arange(each, dtype=np.int32)
    return smaller.reshape(-1).astype(np.int32), begins * np.int32(each)


def _blocks_each(kv: KvSpec, cache_ports: Sequence[Any]) -> int:
    """How many of the engine's blocks make one of the pipeline's: a CPU's hold 32 tokens, a GPU's 16.

    The value cache is [blocks, heads, tokens, head size] on both.
    """
    if not cache_ports:
        return 1  # a head alone
    own = int(cache_ports[1].partial_shape[2].get_length())
    if kv.block_tokens % own:
        raise BackendError(f"OpenVINO keeps {own} tokens in a KV block: {kv.block_tokens} is no multiple of it.")
    return kv.block_tokens // own


def _allocate_all(ports: Sequence[Any], block_count: int) -> list[tuple[Any, NDArray[np.uint8]]]:
    try:
        return [_allocate(port, block_count) for port in ports]
    except (MemoryError, ValueError) as error:  # numpy's answers to too much, and to far too much
        raise BackendError(
            f"There is no memory for a KV cache of {block_count} blocks in {len(ports) // 2} layers: "
            "ask for fewer blocks, or put fewer layers on the device."
        ) from error


def _allocate(port: Any, block_count: int) -> tuple[Any, NDArray[np.uint8]]:
    """A cache of zeros: they cost no memory until a block is written, and unlike garbage they are never NaN."""
    import openvino as ov

    shape = [block_count, *(dimension.get_length() for dimension in list(port.partial_shape)[1:])]
    memory = np.zeros(int(np.prod(shape)) * port.element_type.size, np.uint8)
    return ov.Tensor(memory, ov.Shape(shape), port.element_type), memory
