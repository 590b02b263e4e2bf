"""A decoder's slice in torch: embedding on the host, blocks with paged attention, the head.

Knows one batch's way through the slice; `torch_attention.py` knows the caches' use.
"""

import torch
from torch import Tensor, nn

from hetero.backends.base import KvSpec, SliceSpec
from hetero.backends.torch_attention import PagedAttention, Step, StepHolder
from hetero.backends.torch_device import Target, make_report, telling
from hetero.batch import Batch, DecodeBatch, FloatArray
from hetero.errors import BackendError
from hetero.models.config import DecoderConfig
from hetero.models.decoder import AttentionShape
from hetero.models.embedding import load_decoder_embedding
from hetero.models.loading import load_decoder_blocks, load_decoder_head
from hetero.models.rotary import RotaryTable


class TorchDecoderSlice:
    """`CompiledSlice` of a decoder."""

    def __init__(self, spec: SliceSpec, config: DecoderConfig, target: Target) -> None:
        self._kv = _checked(spec)
        self._target, self._name, self._holder = target, spec.device.name, StepHolder()
        self._rotary = RotaryTable(config)
        self._caches: list[Tensor] = []
        self._embedding = load_decoder_embedding(spec.folder, config) if spec.first == 0 else None
        self._blocks = load_decoder_blocks(
            spec.folder, config, spec.first, spec.last, self._attention, target.dtype
        ).to(target.device)
        self._head = None
        if spec.last == config.block_count:
            self._head = load_decoder_head(spec.folder, config, target.dtype).to(target.device)
        modules: list[nn.Module] = [module for module in (self._blocks, self._head) if module is not None]
        self.report = make_report(modules, self._caches, target)

    def _attention(self, shape: AttentionShape) -> nn.Module:
        size = (self._kv.block_count, self._kv.block_tokens, shape.kv_head_count, shape.head_size)
        keys, values = (torch.zeros(size, dtype=self._target.dtype, device=self._target.device) for _ in range(2))
        self._caches += [keys, values]
        return PagedAttention(shape, keys, values, self._holder)

    def run(self, batch: Batch, hidden: FloatArray | None) -> FloatArray:
        if not isinstance(batch, DecodeBatch):
            raise BackendError("A decoder's slice was given an encoder's batch: submit a DecodeBatch.")
        with telling("run a batch", self._name), torch.inference_mode():
            return self._run(batch, self._entering(batch, hidden))

    def _entering(self, batch: DecodeBatch, hidden: FloatArray | None) -> FloatArray:
        if self._embedding is not None:
            return self._embedding.rows(batch.token_ids, batch.positions)
        if hidden is None:
            raise BackendError("A slice that does not begin at block 0 needs the previous slice's hidden states.")
        return hidden

    def _run(self, batch: DecodeBatch, entering: FloatArray) -> FloatArray:
        device, dtype = self._target.device, self._target.dtype
        self._holder.step = Step(batch, self._kv.block_tokens, device, dtype)
        hidden, cos, sin = (self._tensor(a) for a in (entering, *self._rotary.rows(batch.positions)))
        hidden, _ = self._blocks(hidden, cos, sin, [()] * len(self._blocks.blocks), ())
        if self._head is not None:
            hidden = self._head(hidden.index_select(0, torch.from_numpy(batch.sample_rows).to(device)))
        result: FloatArray = hidden.float().cpu().numpy()
        return result

    def _tensor(self, array: FloatArray) -> Tensor:
        return torch.tensor(array).to(self._target.device, self._target.dtype)

    def close(self) -> None:
        self._caches.clear()
        for name in ("_blocks", "_head"):
            self.__dict__.pop(name, None)
        if self._target.device.type == "cuda":
            torch.cuda.empty_cache()


def _checked(spec: SliceSpec) -> KvSpec:
    if spec.kv is None:
        raise BackendError("A decoder's slice needs a KV cache: give its sizes with the slice.")
    return spec.kv
