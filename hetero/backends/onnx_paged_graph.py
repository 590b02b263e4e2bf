"""The graph of a decoder's slice with a paged cache: its inputs, their names and which of their lengths are free.

Knows the module and its export; knows no provider and no batch.
"""

import torch
from torch import Tensor, nn

from hetero.backends.base import SliceSpec
from hetero.backends.onnx_attention import PagedAttention
from hetero.backends.onnx_export import OnnxGraph, export_graph
from hetero.backends.onnx_modules import use_onnx_operators
from hetero.backends.static_decoder import distinct_windows
from hetero.models.config import DecoderConfig
from hetero.models.decoder import AttentionShape, DecoderBlocks
from hetero.models.loading import load_decoder_blocks

#: The index arrays that every block's attention takes.
INDICES = ("write", "blocks", "spread", "collect")


class PagedDecoder(nn.Module):
    """`DecoderBlocks` with flat inputs and outputs: hidden, cos, sin, index arrays, masks, then caches."""

    def __init__(self, blocks: DecoderBlocks, windows: tuple[int, ...]) -> None:
        super().__init__()
        self.blocks, self.windows = blocks, windows
        self.cache_names = [f"{kind}_{i}" for i in range(len(blocks.blocks)) for kind in ("keys", "values")]
        self.input_names = ["hidden", "cos", "sin", *INDICES, *(f"mask_{w}" for w in windows), *self.cache_names]
        self.output_names = ["output", *(f"{name}_out" for name in self.cache_names)]

    def forward(self, hidden: Tensor, cos: Tensor, sin: Tensor, *inputs: Tensor) -> tuple[Tensor, ...]:
        at = len(INDICES) + len(self.windows)
        shared, caches = inputs[:at], inputs[at:]
        pairs = [caches[i : i + 2] for i in range(0, len(caches), 2)]
        output, kept = self.blocks(hidden, cos, sin, pairs, shared)
        return output, *kept


def load_paged_decoder(spec: SliceSpec, config: DecoderConfig, dtype: torch.dtype) -> PagedDecoder:
    """The slice's blocks with their weights, attention and operators as ONNX Runtime takes them."""
    windows = distinct_windows(config, spec.first, spec.last)

    def attention(shape: AttentionShape) -> nn.Module:
        return PagedAttention(shape, windows.index(shape.sliding_window))

    module = PagedDecoder(load_decoder_blocks(spec.folder, config, spec.first, spec.last, attention, dtype), windows)
    use_onnx_operators(module)
    return module


def paged_graph(module: PagedDecoder, config: DecoderConfig, block_tokens: int, dtype: torch.dtype) -> OnnxGraph:
    """Traced on one sequence of two tokens in a cache of one block; every length is free."""
    example = _example(module, config, block_tokens, dtype)
    return export_graph(module, example, module.input_names, module.output_names, _free_lengths(module))


def _example(module: PagedDecoder, config: DecoderConfig, block_tokens: int, dtype: torch.dtype) -> tuple[Tensor, ...]:
    hidden, rotary = torch.zeros(2, config.hidden_size, dtype=dtype), torch.zeros(2, config.head_size, dtype=dtype)
    sizes = ((2, config.kv_head_count, 3), (1, 1), (1, 2), (2,))
    indices = [torch.zeros(size, dtype=torch.int64) for size in sizes]
    masks = [torch.zeros(1, 1, 2, block_tokens, dtype=dtype)] * len(module.windows)
    cache = torch.zeros(1, config.kv_head_count, block_tokens, config.head_size, dtype=dtype)
    return hidden, rotary, rotary, *indices, *masks, *[cache] * len(module.cache_names)


def _free_lengths(module: PagedDecoder) -> dict[str, dict[int, str]]:
    free = {name: {0: "tokens"} for name in ("hidden", "cos", "sin", "write", "collect", "output")}
    free |= {"blocks": {0: "sequences", 1: "table"}, "spread": {0: "sequences", 1: "chunk"}}
    free |= {f"mask_{window}": {0: "sequences", 2: "chunk", 3: "slots"} for window in module.windows}
    return free | {name: {0: "pool"} for name in (*module.cache_names, *module.output_names[1:])}
