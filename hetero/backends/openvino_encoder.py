"""An encoder's slice in OpenVINO: padded batches of any size, the embedding before and the pooling after on the host.

Knows a slice's life: load, convert, compile, run, close.
"""

import time
from typing import Any

import numpy as np
import torch
from torch import nn

from hetero.backends.base import SliceReport, SliceSpec
from hetero.backends.openvino_calling import infer
from hetero.backends.openvino_compiling import compile_model, make_report, weight_bytes
from hetero.backends.openvino_scratch import ScratchWeights
from hetero.backends.openvino_settings import precision_of
from hetero.backends.openvino_tracing import convert_traced
from hetero.batch import Batch, EncodeBatch, FloatArray
from hetero.errors import BackendError
from hetero.models.config import EncoderConfig
from hetero.models.embedding import load_encoder_embedding
from hetero.models.encoder_head import load_encoder_head
from hetero.models.loading import load_encoder_blocks

#: What is added to the scores of padding: far below every score, and finite in fp16.
HIDDEN = -6e4


class EncoderSlice:
    """`CompiledSlice` for encoders."""

    report: SliceReport

    def __init__(self, spec: SliceSpec, config: EncoderConfig) -> None:
        started = time.perf_counter()
        precision = precision_of(spec)
        blocks = load_encoder_blocks(spec.folder, config, spec.first, spec.last, precision.weights)
        weights, scratch = weight_bytes(blocks), ScratchWeights(blocks)
        compiled = compile_model(convert_encoder(blocks, config.hidden_size), spec, precision)
        self._embedding = load_encoder_embedding(spec.folder, config) if spec.first == 0 else None
        self._head = load_encoder_head(spec.folder, config) if spec.last == config.block_count else None
        self._request: Any = compiled.model.create_infer_request()
        self._ports = compiled.model.inputs
        self._warm_up(config)
        scratch.release()
        self.report = make_report(compiled, spec, weights, 0, started)

    def run(self, batch: Batch, hidden: FloatArray | None) -> FloatArray:
        if not isinstance(batch, EncodeBatch):
            raise BackendError("An encoder's slice takes encode batches; the batch is a decoder's.")
        if self._request is None:
            raise BackendError("The slice is closed.")
        leaving = self._infer(self._entering(batch, hidden), batch)
        return leaving if self._head is None else self._head.vectors(leaving, batch.attention_mask)

    def _warm_up(self, config: EncoderConfig) -> None:
        """One token: the engine packs its weights when it first runs."""
        one = np.ones((1, 1), np.int64)
        self._infer(np.zeros((1, 1, config.hidden_size), np.float32), EncodeBatch(0, one, one, one))

    def _entering(self, batch: EncodeBatch, hidden: FloatArray | None) -> FloatArray:
        if self._embedding is not None:
            return self._embedding.rows(batch.token_ids, batch.attention_mask, batch.token_types)
        if hidden is None:
            raise BackendError("A slice that does not begin at block 0 needs the previous slice's hidden states.")
        return hidden

    def _infer(self, hidden: FloatArray, batch: EncodeBatch) -> FloatArray:
        mask = np.where(batch.attention_mask[:, None, None] > 0, 0.0, HIDDEN).astype(np.float32)
        infer(self._request, zip(self._ports, (hidden, mask), strict=True))
        output: FloatArray = self._request.get_output_tensor(0).data
        return output

    def close(self) -> None:
        self._request = None


def convert_encoder(blocks: nn.Module, hidden_size: int) -> Any:
    """hidden [B, L, D] and an additive mask [B, 1, 1, L] to hidden [B, L, D], B and L open."""
    import openvino as ov

    model = convert_traced(blocks, (torch.zeros(2, 3, hidden_size), torch.zeros(2, 1, 1, 3)))
    for parameter, shape in zip(model.get_parameters(), ([-1, -1, hidden_size], [-1, 1, 1, -1]), strict=True):
        parameter.set_partial_shape(ov.PartialShape(shape))
    model.validate_nodes_and_infer_types()
    return model
