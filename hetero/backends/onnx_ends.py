"""The two ends of a decoder's slice: embedding on the host before block 0, after the last the head, in its own graph.

Knows whether a slice has an end; knows nothing of blocks or caches.
"""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from hetero.backends.base import SliceSpec
from hetero.backends.onnx_export import export_graph
from hetero.backends.onnx_modules import use_onnx_operators
from hetero.backends.onnx_precision import Precision
from hetero.backends.onnx_providers import Provider
from hetero.backends.onnx_runner import Runner
from hetero.backends.static_layout import smallest_fitting
from hetero.batch import DecodeBatch, FloatArray
from hetero.errors import BackendError
from hetero.models.config import DecoderConfig
from hetero.models.embedding import load_decoder_embedding
from hetero.models.loading import load_decoder_head

#: Rows that a head of static shape takes at once.
HEAD_ROWS = (1, 8)


class DecoderEnds:
    """What a slice does besides its blocks; nothing at all for a slice in the middle."""

    def __init__(self, spec: SliceSpec, config: DecoderConfig, provider: Provider, precision: Precision) -> None:
        self._embedding = load_decoder_embedding(spec.folder, config) if spec.first == 0 else None
        self._head = DecoderHeadGraph(spec, config, provider, precision) if spec.last == config.block_count else None

    @property
    def weight_bytes(self) -> int:
        return self._head.weight_bytes if self._head else 0

    def embed(self, batch: DecodeBatch, hidden: FloatArray | None) -> FloatArray:
        """Hidden states [T, D] that enter the slice's first block."""
        if self._embedding is not None:
            return self._embedding.rows(batch.token_ids, batch.positions)
        if hidden is None:
            raise BackendError("A slice that does not begin at block 0 needs the previous slice's hidden states.")
        return hidden

    def logits(self, batch: DecodeBatch, hidden: FloatArray) -> FloatArray:
        """[R, V] from the last slice, the hidden states themselves from any other."""
        return self._head.logits(hidden[batch.sample_rows]) if self._head else hidden

    def close(self) -> None:
        if self._head:
            self._head.close()


class DecoderHeadGraph:
    """The final norm and the projection to the vocabulary, on the slice's device."""

    def __init__(self, spec: SliceSpec, config: DecoderConfig, provider: Provider, precision: Precision) -> None:
        self._config, self._provider, self._precision, self._threads = config, provider, precision, spec.threads
        self._module = use_onnx_operators(load_decoder_head(spec.folder, config, precision.weights))
        self._runners: dict[int, Runner] = {}
        self._runner(HEAD_ROWS[0])

    @property
    def weight_bytes(self) -> int:
        return sum(tensor.nbytes for tensor in self._module.state_dict().values())

    def _runner(self, rows: int) -> Runner:
        """A device of any shape has one form, under the key 0."""
        static = self._provider.device.static_shapes
        key = rows if static else 0
        if key not in self._runners:
            example = (torch.zeros(rows, self._config.hidden_size, dtype=self._precision.weights),)
            axes = None if static else {"hidden": {0: "rows"}, "logits": {0: "rows"}}
            graph = export_graph(self._module, example, ["hidden"], ["logits"], axes)
            self._runners[key] = Runner(graph, self._provider, self._threads)
        return self._runners[key]

    def logits(self, hidden: FloatArray) -> FloatArray:
        """hidden: float32 [R, D]; returns float32 [R, V]."""
        if not self._provider.device.static_shapes and len(hidden):
            return self._run(hidden, len(hidden))
        done, parts = 0, [np.empty((0, self._config.vocabulary_size), np.float32)]
        while done < len(hidden):
            rows = smallest_fitting(HEAD_ROWS, len(hidden) - done)
            parts.append(self._run(hidden[done : done + rows], rows))
            done += rows
        return np.concatenate(parts)

    def _run(self, hidden: FloatArray, rows: int) -> FloatArray:
        padded: NDArray[Any] = np.zeros((rows, hidden.shape[1]), self._precision.array)
        padded[: len(hidden)] = hidden
        (logits,) = self._runner(rows).run({"hidden": padded})
        return logits[: len(hidden)].astype(np.float32)

    def close(self) -> None:
        for runner in self._runners.values():
            runner.close()
        self._runners.clear()
