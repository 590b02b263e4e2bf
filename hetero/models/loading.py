"""Builds slices of a model with their weights: each parameter is read from the checkpoint by itself, in its own type,
and converted to the slice's before the next is read.

Knows modules and sources; knows neither files (`weights.py`) nor names (`names.py`).
"""

from pathlib import Path
from typing import TypeVar

import torch
from torch import nn

from hetero.errors import ModelError
from hetero.models import names
from hetero.models.config import DecoderConfig, EncoderConfig
from hetero.models.decoder import AttentionFactory, AttentionShape, DecoderBlocks, DecoderHead
from hetero.models.encoder import EncoderBlocks
from hetero.models.names import Source
from hetero.models.weights import Checkpoint

M = TypeVar("M", bound=nn.Module)


def load_decoder_blocks(
    folder: Path, config: DecoderConfig, first: int, last: int, attention: AttentionFactory, dtype: torch.dtype
) -> DecoderBlocks:
    """Blocks [first, last) with their weights in `dtype`, on the CPU, frozen. Raises ModelError."""
    checkpoint = Checkpoint(folder)

    def attention_with_memory(shape: AttentionShape) -> nn.Module:
        with torch.device("cpu"):
            return attention(shape)

    _check_range(folder, config, first, last)
    with torch.device("meta"):
        blocks = DecoderBlocks(config, first, last, attention_with_memory)
    for index, block in enumerate(blocks.blocks, first):
        _fill(block, checkpoint, names.decoder_block(checkpoint, config, index), dtype)
    return blocks.eval()


def load_decoder_head(folder: Path, config: DecoderConfig, dtype: torch.dtype) -> DecoderHead:
    """The final norm and the projection to the vocabulary. Raises ModelError."""
    checkpoint = Checkpoint(folder)
    with torch.device("meta"):
        head = DecoderHead(config)
    return _fill(head, checkpoint, names.decoder_head(checkpoint, config), dtype).eval()


def load_encoder_blocks(
    folder: Path, config: EncoderConfig, first: int, last: int, dtype: torch.dtype
) -> EncoderBlocks:
    """Blocks [first, last) with their weights in `dtype`, on the CPU, frozen. Raises ModelError."""
    checkpoint = Checkpoint(folder)
    _check_range(folder, config, first, last)
    with torch.device("meta"):
        blocks = EncoderBlocks(config, first, last)
    for index, block in enumerate(blocks.blocks, first):
        _fill(block, checkpoint, names.encoder_block(checkpoint, config, index), dtype)
    return blocks.eval()


def read_source(checkpoint: Checkpoint, source: Source, shape: tuple[int, ...]) -> torch.Tensor:
    """The tensor that `source` says, which must have `shape`; may be a view. Raises ModelError."""
    stored = checkpoint.stored(source.name)
    wanted = tuple(reversed(shape)) if source.transposed else shape
    wanted = (*wanted[:-1], wanted[-1] * source.parts)
    if stored.shape != wanted:
        raise ModelError(
            f"{stored.path} holds {source.name} of shape {list(stored.shape)} where config.json wants "
            f"{list(wanted)}: use the config.json and the weights of one model."
        )
    tensor = checkpoint.tensor(source.name)
    if source.parts > 1:
        tensor = tensor.chunk(source.parts, dim=-1)[source.part]
    return tensor.t() if source.transposed else tensor


def _fill(module: M, checkpoint: Checkpoint, sources: dict[str, Source], dtype: torch.dtype) -> M:
    """Give `module`, which has no memory yet, its parameters."""
    expected = dict(module.named_parameters())
    if expected.keys() != sources.keys():
        raise ModelError(f"{checkpoint.folder}: parameters {sorted(expected.keys() ^ sources.keys())} have no source.")
    for name, parameter in expected.items():
        tensor = read_source(checkpoint, sources[name], tuple(parameter.shape))
        _assign(module, name, tensor.to(dtype, memory_format=torch.contiguous_format))
    return module


def _assign(module: nn.Module, name: str, tensor: torch.Tensor) -> None:
    owner, _, leaf = name.rpartition(".")
    # A part of a larger tensor would keep the whole of it alive.
    own = (
        tensor
        if tensor.untyped_storage().nbytes() == tensor.nbytes and tensor.is_contiguous()
        else tensor.clone(memory_format=torch.contiguous_format)
    )
    setattr(module.get_submodule(owner), leaf, nn.Parameter(own, requires_grad=False))


def _check_range(folder: Path, config: DecoderConfig | EncoderConfig, first: int, last: int) -> None:
    is_head_alone = first == last == config.block_count
    if not (0 <= first < last <= config.block_count or is_head_alone):
        raise ModelError(f"{folder} has blocks 0-{config.block_count}; {first}-{last} is no range of them.")
