"""An encoder's slice in torch: embedding and pooling or classification on the host, blocks on the device.

Knows one batch's way through the slice.
"""

import numpy as np
import torch

from hetero.backends.base import SliceSpec
from hetero.backends.torch_device import Target, make_report, telling
from hetero.batch import Batch, EncodeBatch, FloatArray
from hetero.errors import BackendError
from hetero.models.config import EncoderConfig
from hetero.models.embedding import load_encoder_embedding
from hetero.models.encoder_head import load_encoder_head
from hetero.models.loading import load_encoder_blocks


class TorchEncoderSlice:
    """`CompiledSlice` of an encoder."""

    def __init__(self, spec: SliceSpec, config: EncoderConfig, target: Target) -> None:
        self._target, self._name = target, spec.device.name
        self._embedding = load_encoder_embedding(spec.folder, config) if spec.first == 0 else None
        self._blocks = load_encoder_blocks(spec.folder, config, spec.first, spec.last, target.dtype).to(target.device)
        self._head = load_encoder_head(spec.folder, config) if spec.last == config.block_count else None
        self.report = make_report([self._blocks], [], target)

    def run(self, batch: Batch, hidden: FloatArray | None) -> FloatArray:
        if not isinstance(batch, EncodeBatch):
            raise BackendError("An encoder's slice was given a decoder's batch: submit an EncodeBatch.")
        with telling("run a batch", self._name), torch.inference_mode():
            out = self._run(batch, self._entering(batch, hidden))
        return out if self._head is None else self._head.vectors(out, batch.attention_mask)

    def _entering(self, batch: EncodeBatch, hidden: FloatArray | None) -> FloatArray:
        if self._embedding is not None:
            return self._embedding.rows(batch.token_ids, batch.attention_mask, batch.token_types)
        if hidden is None:
            raise BackendError("A slice that does not begin at block 0 needs the previous slice's hidden states.")
        return hidden

    def _run(self, batch: EncodeBatch, entering: FloatArray) -> FloatArray:
        device, dtype = self._target.device, self._target.dtype
        hidden = torch.tensor(entering).to(device, dtype)
        unseen = torch.from_numpy(np.asarray(batch.attention_mask) == 0).to(device)[:, None, None]
        mask = torch.zeros(unseen.shape, dtype=dtype, device=device).masked_fill_(unseen, torch.finfo(dtype).min)
        result: FloatArray = self._blocks(hidden, mask).float().cpu().numpy()
        return result

    def close(self) -> None:
        self.__dict__.pop("_blocks", None)
        if self._target.device.type == "cuda":
            torch.cuda.empty_cache()
