"""Checkpoints of one model under other names: of the bare body, and of older BERTs; each must give the same slices."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from hetero.models.config import DecoderConfig, EncoderConfig
from hetero.models.config_reader import read_config
from hetero.models.embedding import load_decoder_embedding, load_encoder_embedding
from hetero.models.loading import load_decoder_blocks, load_decoder_head, load_encoder_blocks

Checkpoints = Callable[..., Path]
IDS = np.array([[5, 6, 7], [9, 1, 0]])


def _renamed(folder: Path, target: Path, rename: Callable[[str], str]) -> Path:
    copy = Path(shutil.copytree(folder, target / "renamed"))
    tensors = load_file(copy / "model.safetensors")
    renamed = {rename(name): tensor for name, tensor in tensors.items()}
    assert renamed.keys() != tensors.keys()
    save_file(renamed, copy / "model.safetensors")
    return copy


def _decoder_parts(folder: Path) -> list[torch.Tensor]:
    config = read_config(folder)
    assert isinstance(config, DecoderConfig)
    blocks = load_decoder_blocks(folder, config, 1, 3, lambda shape: torch.nn.Identity(), torch.float32)
    head = load_decoder_head(folder, config, torch.float32)
    rows = load_decoder_embedding(folder, config).rows(IDS[0], IDS[1])
    return [*blocks.parameters(), *head.parameters(), torch.from_numpy(rows)]


def _encoder_parts(folder: Path) -> list[torch.Tensor]:
    config = read_config(folder)
    assert isinstance(config, EncoderConfig)
    rows = load_encoder_embedding(folder, config).rows(IDS, np.ones_like(IDS), np.zeros_like(IDS))
    return [*load_encoder_blocks(folder, config, 1, 3, torch.float32).parameters(), torch.from_numpy(rows)]


@pytest.mark.parametrize(("family", "prefix"), [("smollm", "model."), ("gpt2", "transformer.")])
def test_names_of_a_bare_decoder_give_the_same_slices(
    family: str, prefix: str, checkpoint: Checkpoints, tmp_path: Path
) -> None:
    bare = _renamed(checkpoint(family), tmp_path, lambda name: name.removeprefix(prefix))
    for ours, theirs in zip(_decoder_parts(bare), _decoder_parts(checkpoint(family)), strict=True):
        assert torch.equal(ours, theirs)


@pytest.mark.parametrize("family", ["bert", "roberta", "distilbert"])
def test_names_of_an_encoder_under_a_head_give_the_same_slices(
    family: str, checkpoint: Checkpoints, tmp_path: Path
) -> None:
    whole = _renamed(checkpoint(family), tmp_path, lambda name: f"{family}.{name}")
    for ours, theirs in zip(_encoder_parts(whole), _encoder_parts(checkpoint(family)), strict=True):
        assert torch.equal(ours, theirs)


def test_names_of_older_norms_give_the_same_slices(checkpoint: Checkpoints, tmp_path: Path) -> None:
    def older(name: str) -> str:
        return name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta")

    old = _renamed(checkpoint("bert"), tmp_path, older)
    for ours, theirs in zip(_encoder_parts(old), _encoder_parts(checkpoint("bert")), strict=True):
        assert torch.equal(ours, theirs)


def test_names_of_a_tied_head_that_is_stored_with_other_values_give_those_as_transformers(
    checkpoint: Checkpoints, tmp_path: Path
) -> None:
    from transformers import AutoModelForCausalLM

    folder = Path(shutil.copytree(checkpoint("llama"), tmp_path / "tied"))
    values = json.loads((folder / "config.json").read_text()) | {"tie_word_embeddings": True}
    (folder / "config.json").write_text(json.dumps(values))
    config = read_config(folder)
    assert isinstance(config, DecoderConfig)
    head = load_decoder_head(folder, config, torch.float32)
    wanted = AutoModelForCausalLM.from_pretrained(folder).lm_head.weight
    assert torch.equal(head.head.weight, wanted)
    assert not torch.equal(wanted, load_file(folder / "model.safetensors")["model.embed_tokens.weight"])
