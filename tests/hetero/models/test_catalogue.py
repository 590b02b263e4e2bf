"""What a model weighs, against the tensors that its slices really load."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from hetero.models.catalogue import describe_ends, describe_layers
from hetero.models.config import DecoderConfig, EncoderConfig
from hetero.models.config_reader import read_config
from hetero.models.loading import load_decoder_blocks, load_decoder_head, load_encoder_blocks

Checkpoints = Callable[..., Path]


def _bytes(module: torch.nn.Module) -> int:
    return sum(parameter.nbytes for parameter in module.parameters())


@pytest.mark.parametrize(("stored", "precision", "dtype"), [
    ("float32", None, torch.float32), ("bfloat16", None, torch.bfloat16), ("bfloat16", "fp32", torch.float32),
    ("float32", "fp16", torch.float16),
])  # fmt: skip
@pytest.mark.parametrize("family", ["smollm", "qwen2", "gpt2"])
def test_catalogue_decoder_weighs_what_is_loaded(
    family: str, stored: str, precision: str | None, dtype: torch.dtype, checkpoint: Checkpoints
) -> None:
    folder = checkpoint(family, dtype=stored)
    config = read_config(folder)
    assert isinstance(config, DecoderConfig)
    layers = describe_layers(folder, config, precision)
    blocks = load_decoder_blocks(folder, config, 0, 4, lambda shape: torch.nn.Identity(), dtype)
    assert [layer.weight_bytes for layer in layers] == [_bytes(block) for block in blocks.blocks]
    assert [layer.index for layer in layers] == [0, 1, 2, 3]
    assert layers[0].kv_bytes_per_token == 2 * 2 * config.kv_head_count * config.head_size
    assert layers[0].activation_bytes_per_token == 4 * 64
    ends = describe_ends(folder, config, precision)
    assert ends.head_bytes == _bytes(load_decoder_head(folder, config, dtype))
    size = 4 if stored == "float32" else 2
    assert ends.embedding_bytes == size * 64 * (320 + (256 if family == "gpt2" else 0))


@pytest.mark.parametrize("family", ["bert", "roberta-classifier", "distilbert"])
def test_catalogue_encoder_weighs_what_is_loaded(family: str, checkpoint: Checkpoints) -> None:
    folder = checkpoint(family)
    config = read_config(folder)
    assert isinstance(config, EncoderConfig)
    blocks = load_encoder_blocks(folder, config, 0, 4, torch.float32)
    layers = describe_layers(folder, config)
    assert [layer.weight_bytes for layer in layers] == [_bytes(block) for block in blocks.blocks]
    assert layers[0].kv_bytes_per_token == 0
    head = 4 * (64 * 64 + 64 + 3 * 64 + 3) if config.labels else 0
    assert describe_ends(folder, config).head_bytes == head
