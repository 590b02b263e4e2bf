"""A decoder's slice in OpenVINO with paged KV: on CPUs and on Intel's GPUs.

Knows a slice's life: load, convert, compile, run, close. The parts are in `openvino_*.py` beside it.
"""

import time

import numpy as np

from hetero.backends.base import SliceReport, SliceSpec
from hetero.backends.openvino_compiling import compile_model, make_report, weight_bytes
from hetero.backends.openvino_gated import takes_gated_kernel, use_gated_kernel
from hetero.backends.openvino_graph import DecoderStage, convert_decoder
from hetero.backends.openvino_paged import PagedAttention
from hetero.backends.openvino_request import PagedRequest
from hetero.backends.openvino_scratch import ScratchWeights
from hetero.backends.openvino_settings import Precision, precision_of
from hetero.backends.openvino_wide import widen
from hetero.batch import Batch, DecodeBatch, FloatArray
from hetero.errors import BackendError
from hetero.models.config import DecoderConfig
from hetero.models.embedding import load_decoder_embedding
from hetero.models.loading import load_decoder_blocks, load_decoder_head
from hetero.models.rotary import RotaryTable

_ONE_TOKEN = DecodeBatch(
    batch_id=0,
    token_ids=np.zeros(1, np.int64),
    positions=np.zeros(1, np.int64),
    past_lens=np.zeros(1, np.int32),
    begins=np.array([0, 1], np.int32),
    block_indices=np.zeros(1, np.int32),
    block_begins=np.array([0, 1], np.int32),
    slots=np.zeros(1, np.int32),
    sample_rows=np.zeros(1, np.int64),
    sampling=(),
)


class PagedDecoderSlice:
    """`CompiledSlice` for decoders."""

    report: SliceReport

    def __init__(self, spec: SliceSpec, config: DecoderConfig) -> None:
        if spec.kv is None:
            raise BackendError("A decoder's slice needs a KV cache: give the slice its KvSpec.")
        started = time.perf_counter()
        precision = precision_of(spec)
        stage = _load(spec, config, precision)
        weights, names, scratch = weight_bytes(stage), stage.step_inputs, ScratchWeights(stage)
        compiled = compile_model(convert_decoder(stage), spec, precision)
        self._embedding = load_decoder_embedding(spec.folder, config) if spec.first == 0 else None
        self._rotary = RotaryTable(config)
        self._request: PagedRequest | None = PagedRequest(compiled.model, names, spec.kv)
        self._warm_up(config)
        scratch.release()
        self.report = make_report(compiled, spec, weights, self._request.kv_bytes, started)

    def run(self, batch: Batch, hidden: FloatArray | None) -> FloatArray:
        if not isinstance(batch, DecodeBatch):
            raise BackendError("A decoder's slice takes decode batches; the batch is an encoder's.")
        if self._request is None:
            raise BackendError("The slice is closed.")
        return self._request.run(batch, self._entering(batch, hidden), *self._rotary.rows(batch.positions))

    def _warm_up(self, config: DecoderConfig) -> None:
        """One token: the engine packs its weights when it first runs. Block 0 is written, and overwritten later."""
        self.run(_ONE_TOKEN, np.zeros((1, config.hidden_size), np.float32))

    def _entering(self, batch: DecodeBatch, hidden: FloatArray | None) -> FloatArray:
        if self._embedding is not None:
            return self._embedding.rows(batch.token_ids, batch.positions)
        if hidden is None:
            raise BackendError("A slice that does not begin at block 0 needs the previous slice's hidden states.")
        return hidden

    def close(self) -> None:
        self._request = None


def _load(spec: SliceSpec, config: DecoderConfig, precision: Precision) -> DecoderStage:
    blocks = load_decoder_blocks(spec.folder, config, spec.first, spec.last, PagedAttention, precision.weights)
    if takes_gated_kernel(spec):
        blocks = use_gated_kernel(blocks)
    if spec.last < config.block_count:
        return DecoderStage(config, widen(blocks), None)
    return DecoderStage(config, widen(blocks), load_decoder_head(spec.folder, config, precision.weights))
