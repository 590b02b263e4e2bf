"""A decoder's slice in OpenVINO on a device of static shapes: Intel's NPU.

Knows the slice's life: load, compile a form when a batch first needs it, run a batch as steps of fixed shape. How a
batch becomes steps is `static_layout.py`'s, the cache `static_slots.py`'s, the modules `static_decoder.py`'s. Every
CPU can run the same graphs, which is how they are tested: give its `Device` static_shapes.
"""

import time
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hetero.backends.base import KvSpec, SliceReport, SliceSpec
from hetero.backends.openvino_compiling import Compiled, compile_model, make_report, weight_bytes
from hetero.backends.openvino_settings import Precision, precision_of
from hetero.backends.openvino_static_graph import StaticRequest, convert_static, convert_static_head
from hetero.backends.static_decoder import StaticDecoder, StaticShape, distinct_windows, slot_attention
from hetero.backends.static_layout import (
    StaticSizes,
    StaticStep,
    gather_rows,
    scatter_rows,
    smallest_fitting,
    static_steps,
    step_mask,
)
from hetero.backends.static_slots import SlotCache
from hetero.batch import Batch, DecodeBatch, FloatArray
from hetero.errors import BackendError
from hetero.models.config import DecoderConfig
from hetero.models.embedding import load_decoder_embedding
from hetero.models.loading import load_decoder_blocks, load_decoder_head
from hetero.models.rotary import RotaryTable

FP32 = np.dtype(np.float32)

#: Rows that a head of static shape takes at once.
HEAD_ROWS = (1, 8)

_CACHE_TYPES: dict[str, np.dtype[Any]] = {"f32": np.dtype(np.float32), "f16": np.dtype(np.float16)}


def pick_sizes(kv: KvSpec) -> StaticSizes:
    """One token or a chunk of one sequence, against the whole context: each further form is another compilation."""
    return StaticSizes((1,), (16,), (kv.max_context,))


class StaticDecoderSlice:
    """`CompiledSlice` for decoders."""

    report: SliceReport

    def __init__(self, spec: SliceSpec, config: DecoderConfig) -> None:
        if spec.kv is None:
            raise BackendError("A decoder's slice needs a KV cache: give the slice its KvSpec.")
        started = time.perf_counter()
        self._spec, self._config, self._precision = spec, config, precision_of(spec)
        self._windows = distinct_windows(config, spec.first, spec.last)
        self._cache_type = _cache_type(self._precision)
        self._cache = SlotCache(config, spec.last - spec.first, spec.kv, self._cache_type)
        self._rotary = RotaryTable(config)
        self._embedding = load_decoder_embedding(spec.folder, config) if spec.first == 0 else None
        self._requests: dict[StaticShape, StaticRequest] = {}
        self._sizes = pick_sizes(spec.kv)
        self._head = StaticHead(spec, config, self._precision) if spec.last == config.block_count else None
        weights, account = self._load_form(StaticShape(1, 1, self._sizes.slots[0]))
        weights += self._head.weight_bytes if self._head else 0
        self.report = make_report(account, spec, weights, self._cache.byte_count, started)

    def _load_form(self, shape: StaticShape) -> tuple[int, Compiled]:
        """Compile one form. The blocks are read again for each, so that none is kept beside the engine's copy."""
        spec = self._spec
        factory = slot_attention(self._windows)
        blocks = load_decoder_blocks(spec.folder, self._config, spec.first, spec.last, factory, self._precision.weights)
        module = StaticDecoder(blocks, self._windows)
        weights = weight_bytes(module)
        compiled = compile_model(convert_static(module, self._config, shape, self._cache_type), spec, self._precision)
        self._requests[shape] = StaticRequest(compiled.model)
        return weights, compiled

    def run(self, batch: Batch, hidden: FloatArray | None) -> FloatArray:
        if not isinstance(batch, DecodeBatch):
            raise BackendError("A decoder's slice takes decode batches; the batch is an encoder's.")
        self._check_context(batch)
        entering = self._entering(batch, hidden)
        leaving = np.empty((len(batch.token_ids), self._config.hidden_size), np.float32)
        rotary = self._rotary.rows(batch.positions)
        for step in static_steps(batch, self._sizes):
            self._run_step(step, entering, rotary, leaving)
        return self._head.logits(leaving[batch.sample_rows]) if self._head else leaving

    def _check_context(self, batch: DecodeBatch) -> None:
        longest, room = int((batch.past_lens + np.diff(batch.begins)).max()), self._cache.slot_tokens
        if longest > room:
            raise BackendError(f"A sequence of {longest} tokens does not fit the slice's slots of {room} tokens.")

    def _entering(self, batch: DecodeBatch, hidden: FloatArray | None) -> FloatArray:
        if self._embedding is not None:
            return self._embedding.rows(batch.token_ids, batch.positions)
        if hidden is None:
            raise BackendError("A slice that does not begin at block 0 needs the previous slice's hidden states.")
        return hidden

    def _run_step(
        self, step: StaticStep, entering: FloatArray, rotary: tuple[FloatArray, FloatArray], leaving: FloatArray
    ) -> None:
        if step.shape not in self._requests:
            self._load_form(step.shape)
        group = self._config.head_count // self._config.kv_head_count
        values: list[NDArray[Any]] = [gather_rows(step, rows, FP32) for rows in (entering, *rotary)]
        values += [step_mask(step, window, group, FP32) for window in self._windows]
        output, *new = self._requests[step.shape].run([*values, *self._cache.read(step)])
        self._cache.write(step, new)
        scatter_rows(step, output, leaving)

    def close(self) -> None:
        self._requests.clear()
        self._head = None


class StaticHead:
    """The final norm and the projection to the vocabulary, a few rows at a time."""

    def __init__(self, spec: SliceSpec, config: DecoderConfig, precision: Precision) -> None:
        self._config, self.weight_bytes = config, 0
        self._requests: dict[int, StaticRequest] = {}
        for rows in HEAD_ROWS:
            head = load_decoder_head(spec.folder, config, precision.weights)
            self.weight_bytes = weight_bytes(head)
            compiled = compile_model(convert_static_head(head, rows, config.hidden_size), spec, precision)
            self._requests[rows] = StaticRequest(compiled.model)

    def logits(self, hidden: FloatArray) -> FloatArray:
        """hidden: float32 [R, D]; returns float32 [R, V]."""
        logits = np.empty((len(hidden), self._config.vocabulary_size), np.float32)
        done = 0
        while done < len(hidden):
            rows = smallest_fitting(HEAD_ROWS, len(hidden) - done)
            part = hidden[done : done + rows]
            padded = np.zeros((rows, hidden.shape[1]), np.float32)
            padded[: len(part)] = part
            logits[done : done + len(part)] = self._requests[rows].run([padded])[0][: len(part)]
            done += len(part)
        return logits


def _cache_type(precision: Precision) -> np.dtype[Any]:
    if precision.cache not in _CACHE_TYPES:
        raise BackendError(f"A stage of static shapes keeps its KV cache in fp32 or fp16, not in {precision.cache}.")
    return _CACHE_TYPES[precision.cache]
