"""A slice of a decoder with a paged KV cache on the CPU or a CUDA device, through ONNX Runtime.

Knows the slice's life and what is bound where; the graph is `onnx_paged_graph.py`, index arrays `paged_layout.py`. The
caches stay on the device and are bound as input and output of the same call.
"""

import time
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hetero.backends.base import SliceReport, SliceSpec
from hetero.backends.onnx_ends import DecoderEnds
from hetero.backends.onnx_paged_graph import INDICES, load_paged_decoder, paged_graph
from hetero.backends.onnx_precision import PRECISIONS
from hetero.backends.onnx_providers import Provider
from hetero.backends.onnx_report import make_report
from hetero.backends.onnx_runner import Runner, empty_cache
from hetero.backends.paged_layout import PagedGroup, paged_groups
from hetero.batch import Batch, DecodeBatch, FloatArray, LongArray
from hetero.errors import BackendError
from hetero.models.config import DecoderConfig
from hetero.models.rotary import RotaryTable


class PagedDecoderSlice:
    """`CompiledSlice` for decoders on devices that take any shape."""

    report: SliceReport

    def __init__(self, spec: SliceSpec, config: DecoderConfig, provider: Provider) -> None:
        if spec.kv is None:
            raise BackendError("A decoder's slice needs a KV cache: give the slice its KvSpec.")
        started, precision = time.perf_counter(), PRECISIONS[spec.precision]
        self._config, self._kv, self._dtype = config, spec.kv, precision.array
        self._rotary = RotaryTable(config)
        self._ends = DecoderEnds(spec, config, provider, precision)
        module = load_paged_decoder(spec, config, precision.weights)
        self._windows = module.windows
        self._runner = Runner(
            paged_graph(module, config, spec.kv.block_tokens, precision.weights), provider, spec.threads
        )
        self._caches = {name: empty_cache(self._cache_shape, self._dtype, provider) for name in module.cache_names}
        weight_bytes = self._runner.weight_bytes + self._ends.weight_bytes
        self.report = make_report(provider, spec.precision, weight_bytes, self._cache_bytes, started)

    @property
    def _cache_shape(self) -> tuple[int, ...]:
        return self._kv.block_count, self._config.kv_head_count, self._kv.block_tokens, self._config.head_size

    @property
    def _cache_bytes(self) -> int:
        return len(self._caches) * int(np.prod(self._cache_shape, dtype=np.int64)) * self._dtype.itemsize

    def run(self, batch: Batch, hidden: FloatArray | None) -> FloatArray:
        if not isinstance(batch, DecodeBatch):
            raise BackendError("A decoder's slice was given an encoder's batch: submit a DecodeBatch.")
        entering = self._ends.embed(batch, hidden)
        leaving = np.empty((len(batch.token_ids), self._config.hidden_size), np.float32)
        for group in paged_groups(batch, self._config.kv_head_count, self._kv.block_tokens):
            leaving[group.rows] = self._run_group(group, entering[group.rows], batch.positions[group.rows])
        return self._ends.logits(batch, leaving)

    def _run_group(self, group: PagedGroup, hidden: FloatArray, positions: LongArray) -> NDArray[Any]:
        cos, sin = self._rotary.rows(positions)
        feeds: dict[str, NDArray[Any]] = {"hidden": hidden, "cos": cos, "sin": sin}
        feeds = {name: array.astype(self._dtype, copy=False) for name, array in feeds.items()}
        feeds |= {name: getattr(group, name) for name in INDICES}
        feeds |= {f"mask_{w}": group.mask(w, self._kv.block_tokens, self._dtype) for w in self._windows}
        (output,) = self._runner.run_in_place(feeds, self._caches, ["output"])
        return output

    def close(self) -> None:
        self._runner.close()
        self._caches = {}
        self._ends.close()
