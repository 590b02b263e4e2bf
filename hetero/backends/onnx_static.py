"""A slice of a decoder on a device of static shapes (an NPU), through ONNX Runtime.

Knows the slice's life: load, compile a form when it is first needed, run a batch as steps. Layout of steps, cache and
modules are in `static_*.py`. Arithmetic and weights are fp16, hidden states between slices fp32.
"""

import time
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from hetero.backends.base import KvSpec, SliceReport, SliceSpec
from hetero.backends.onnx_ends import DecoderEnds
from hetero.backends.onnx_export import OnnxGraph, export_graph
from hetero.backends.onnx_modules import use_onnx_operators
from hetero.backends.onnx_precision import PRECISIONS
from hetero.backends.onnx_providers import Provider
from hetero.backends.onnx_report import make_report
from hetero.backends.onnx_runner import Runner
from hetero.backends.static_activations import use_static_activations
from hetero.backends.static_decoder import StaticDecoder, StaticShape, distinct_windows, example_inputs, slot_attention
from hetero.backends.static_layout import (
    StaticSizes,
    StaticStep,
    gather_rows,
    scatter_rows,
    slot_buckets,
    static_steps,
    step_mask,
)
from hetero.backends.static_slots import SlotCache
from hetero.batch import Batch, DecodeBatch, FloatArray
from hetero.errors import BackendError
from hetero.models.config import DecoderConfig
from hetero.models.loading import load_decoder_blocks
from hetero.models.rotary import RotaryTable

FP16 = PRECISIONS["fp16"].array

#: Up to this many bytes of weights a slice is compiled for many sizes; every form keeps its own copy on the device.
SMALL_SLICE_BYTES = 64 << 20


def pick_sizes(kv: KvSpec, weight_bytes: int) -> StaticSizes:
    """Sizes to compile for: many forms for a small slice, two (one token, one chunk) for a large one."""
    if weight_bytes > SMALL_SLICE_BYTES:
        return StaticSizes((1,), (16,), (kv.max_context,))
    rows = tuple(sorted({1, min(4, kv.max_sequences)}))
    return StaticSizes(rows, (16, 64), slot_buckets(kv.max_context))


def load_static_decoder(spec: SliceSpec, config: DecoderConfig) -> StaticDecoder:
    """The slice's blocks with their weights, attention, activations and operators as an NPU takes them."""
    windows = distinct_windows(config, spec.first, spec.last)
    attention = slot_attention(windows)
    module = StaticDecoder(
        load_decoder_blocks(spec.folder, config, spec.first, spec.last, attention, torch.float16), windows
    )
    use_static_activations(module)
    use_onnx_operators(module)
    return module


class StaticDecoderSlice:
    """`CompiledSlice` for decoders. Forms beyond the first two are compiled when a batch first needs them."""

    report: SliceReport

    def __init__(self, spec: SliceSpec, config: DecoderConfig, provider: Provider) -> None:
        if spec.kv is None:
            raise BackendError("A decoder's slice needs a KV cache: give the slice its KvSpec.")
        started = time.perf_counter()
        self._config, self._provider, self._threads = config, provider, spec.threads
        self._module = load_static_decoder(spec, config)
        self._windows = self._module.windows
        self._rotary = RotaryTable(config)
        self._cache = SlotCache(config, spec.last - spec.first, spec.kv, FP16)
        self._runners: dict[StaticShape, Runner] = {}
        self._ends = DecoderEnds(spec, config, provider, PRECISIONS["fp16"])
        weight_bytes = sum(tensor.nbytes for tensor in self._module.state_dict().values())
        self._sizes = pick_sizes(spec.kv, weight_bytes)
        for chunk in (1, self._sizes.chunks[0]):  # what a first request needs; other forms are compiled when needed
            self._runner(StaticShape(1, chunk, self._sizes.slots[0]))
        weight_bytes += self._ends.weight_bytes
        self.report = make_report(provider, "fp16", weight_bytes, self._cache.byte_count, started)

    def _runner(self, shape: StaticShape) -> Runner:
        if shape not in self._runners:
            self._runners[shape] = Runner(self._graph(shape), self._provider, self._threads)
        return self._runners[shape]

    def _graph(self, shape: StaticShape) -> OnnxGraph:
        example = example_inputs(self._config, shape, self._windows, self._module.block_count, torch.float16)
        return export_graph(self._module, example, self._module.input_names, self._module.output_names)

    def run(self, batch: Batch, hidden: FloatArray | None) -> FloatArray:
        if not isinstance(batch, DecodeBatch):
            raise BackendError("A decoder's slice was given an encoder's batch: submit a DecodeBatch.")
        self._check_context(batch)
        entering = self._ends.embed(batch, hidden)
        leaving = np.empty((len(batch.token_ids), self._config.hidden_size), np.float32)
        rotary = self._rotary.rows(batch.positions)
        for step in static_steps(batch, self._sizes):
            self._run_step(step, entering, rotary, leaving)
        return self._ends.logits(batch, leaving)

    def _check_context(self, batch: DecodeBatch) -> None:
        longest, room = int((batch.past_lens + np.diff(batch.begins)).max()), self._cache.slot_tokens
        if longest > room:
            raise BackendError(f"A sequence of {longest} tokens does not fit the slice's slots of {room} tokens.")

    def _run_step(
        self, step: StaticStep, entering: FloatArray, rotary: tuple[FloatArray, FloatArray], leaving: FloatArray
    ) -> None:
        feeds: dict[str, NDArray[Any]] = {"hidden": gather_rows(step, entering, FP16)}
        feeds["cos"], feeds["sin"] = (gather_rows(step, rows, FP16) for rows in rotary)
        group = self._config.head_count // self._config.kv_head_count
        for window in self._windows:
            feeds[f"mask_{window}"] = step_mask(step, window, group, FP16)
        past = self._module.input_names[3 + len(self._windows) :]
        feeds.update(zip(past, self._cache.read(step), strict=True))
        output, *new = self._runner(step.shape).run(feeds)
        self._cache.write(step, new)
        scatter_rows(step, output, leaving)

    def close(self) -> None:
        for runner in self._runners.values():
            runner.close()
        self._runners.clear()
        self._ends.close()
