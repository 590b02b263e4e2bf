"""A slice of an encoder through ONNX Runtime: any shape on the CPU and CUDA, fixed sizes of batch and length on an NPU.

Knows the slice's life; how texts share fixed sizes is `static_groups`. Embedding and pooling run on the host.
"""

import time
from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray

from hetero.backends.base import SliceReport, SliceSpec
from hetero.backends.onnx_export import OnnxGraph, export_graph
from hetero.backends.onnx_precision import PRECISIONS
from hetero.backends.onnx_providers import Provider
from hetero.backends.onnx_report import make_report
from hetero.backends.onnx_runner import Runner
from hetero.backends.paged_layout import HIDDEN
from hetero.backends.static_activations import use_static_activations
from hetero.backends.static_layout import slot_buckets, smallest_fitting
from hetero.batch import Batch, EncodeBatch, FloatArray
from hetero.errors import BackendError
from hetero.models.config import EncoderConfig
from hetero.models.embedding import load_encoder_embedding
from hetero.models.encoder_head import load_encoder_head
from hetero.models.loading import load_encoder_blocks

#: Texts that a device of static shapes takes at once, and the shortest length that it is compiled for.
STATIC_ROWS, SHORTEST = (1, 4), 16


def static_groups(lengths: NDArray[np.int64], max_context: int) -> Iterator[tuple[NDArray[np.int64], int]]:
    """Texts of one compiled length together, four or alone: (their rows in the batch, that length), each text once."""
    sizes = slot_buckets(max_context, SHORTEST)
    compiled = np.array([smallest_fitting(sizes, int(length)) for length in lengths])
    for size in np.unique(compiled):
        rows = np.flatnonzero(compiled == size)
        fours = len(rows) // STATIC_ROWS[-1] * STATIC_ROWS[-1]
        for chosen in (*rows[:fours].reshape(-1, STATIC_ROWS[-1]), *rows[fours:].reshape(-1, STATIC_ROWS[0])):
            yield chosen, int(size)


class EncoderSlice:
    """`CompiledSlice` of an encoder. Forms of an NPU beyond the first are compiled when a batch first needs them."""

    report: SliceReport

    def __init__(self, spec: SliceSpec, config: EncoderConfig, provider: Provider) -> None:
        started = time.perf_counter()
        self._config, self._provider, self._threads = config, provider, spec.threads
        self._static = provider.device.static_shapes
        precision = PRECISIONS[spec.precision]
        self._dtype = precision.array
        self._embedding = load_encoder_embedding(spec.folder, config) if spec.first == 0 else None
        self._head = load_encoder_head(spec.folder, config) if spec.last == config.block_count else None
        self._module = load_encoder_blocks(spec.folder, config, spec.first, spec.last, precision.weights)
        if self._static:
            use_static_activations(self._module)
        self._runners: dict[tuple[int, int], Runner] = {}
        first = self._runner(STATIC_ROWS[0], slot_buckets(config.max_context, SHORTEST)[0])
        self.report = make_report(provider, spec.precision, first.weight_bytes, 0, started)

    def _runner(self, rows: int, length: int) -> Runner:
        """A device of any shape has one form, under the key (0, 0)."""
        key = (rows, length) if self._static else (0, 0)
        if key not in self._runners:
            self._runners[key] = Runner(self._graph(rows, length), self._provider, self._threads)
        return self._runners[key]

    def _graph(self, rows: int, length: int) -> OnnxGraph:
        dtype = next(self._module.parameters()).dtype
        example = (
            torch.zeros(rows, length, self._config.hidden_size, dtype=dtype),
            torch.zeros(rows, 1, 1, length, dtype=dtype),
        )
        axes = {name: {0: "rows", at: "length"} for name, at in (("hidden", 1), ("mask", 3), ("output", 1))}
        return export_graph(self._module, example, ["hidden", "mask"], ["output"], None if self._static else axes)

    def run(self, batch: Batch, hidden: FloatArray | None) -> FloatArray:
        if not isinstance(batch, EncodeBatch):
            raise BackendError("An encoder's slice was given a decoder's batch: submit an EncodeBatch.")
        entering = self._entering(batch, hidden)
        leaving = self._run_static(batch, entering) if self._static else self._run(entering, batch.attention_mask)
        return leaving if self._head is None else self._head.vectors(leaving, batch.attention_mask)

    def _entering(self, batch: EncodeBatch, hidden: FloatArray | None) -> FloatArray:
        if self._embedding is not None:
            return self._embedding.rows(batch.token_ids, batch.attention_mask, batch.token_types)
        if hidden is None:
            raise BackendError("A slice that does not begin at block 0 needs the previous slice's hidden states.")
        return hidden

    def _run(self, hidden: FloatArray, attention_mask: NDArray[np.int64]) -> FloatArray:
        """hidden [B, L, D] and mask [B, L], of a compiled size where sizes are fixed."""
        mask = np.where(attention_mask == 0, HIDDEN[self._dtype], 0.0).astype(self._dtype)[:, None, None]
        feeds = {"hidden": hidden.astype(self._dtype, copy=False), "mask": mask}
        (output,) = self._runner(*attention_mask.shape).run(feeds)
        return output.astype(np.float32, copy=False)

    def _run_static(self, batch: EncodeBatch, hidden: FloatArray) -> FloatArray:
        """Each group of texts padded to a compiled size; what is padding in the batch stays 0."""
        leaving = np.zeros_like(hidden)
        lengths = hidden.shape[1] - np.argmax(batch.attention_mask[:, ::-1], axis=1)
        for chosen, length in static_groups(lengths, self._config.max_context):
            used = min(length, hidden.shape[1])
            padded = np.zeros((len(chosen), length, hidden.shape[2]), self._dtype)
            mask = np.zeros((len(chosen), length), np.int64)
            padded[:, :used], mask[:, :used] = hidden[chosen, :used], batch.attention_mask[chosen, :used]
            leaving[chosen, :used] = self._run(padded, mask)[:, :used]
        return leaving

    def close(self) -> None:
        for runner in self._runners.values():
            runner.close()
        self._runners.clear()
