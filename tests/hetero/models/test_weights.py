"""Checkpoints: what is read of them, and how each damaged one is refused."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from hetero.errors import ModelError
from hetero.models.config import DecoderConfig
from hetero.models.config_reader import read_config
from hetero.models.loading import load_decoder_blocks, load_decoder_head
from hetero.models.weights import Checkpoint

Checkpoints = Callable[..., Path]


def _write(folder: Path, **tensors: torch.Tensor) -> Checkpoint:
    save_file(tensors, folder / "model.safetensors")
    return Checkpoint(folder)


def _copy(folder: Path, target: Path) -> Path:
    return Path(shutil.copytree(folder, target / "copy"))


def _load(folder: Path) -> None:
    config = read_config(folder)
    assert isinstance(config, DecoderConfig)
    load_decoder_blocks(folder, config, 0, config.block_count, lambda shape: torch.nn.Identity(), torch.float32)
    load_decoder_head(folder, config, torch.float32)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_checkpoint_gives_tensors_in_their_stored_type(dtype: torch.dtype, tmp_path: Path) -> None:
    stored = torch.randn(5, 7).to(dtype)
    checkpoint = _write(tmp_path, a=stored, b=torch.zeros(3), scalar=torch.tensor(2.5), none=torch.zeros(0, 4))
    assert set(checkpoint.names()) == {"a", "b", "scalar", "none"}
    found = checkpoint.tensor("a")
    assert found.dtype == dtype
    assert torch.equal(found, stored)
    assert checkpoint.tensor("scalar").item() == 2.5
    assert checkpoint.tensor("none").shape == (0, 4)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_checkpoint_table_rows_are_exact(dtype: torch.dtype, tmp_path: Path) -> None:
    stored = torch.randn(9, 4).to(dtype)
    table = _write(tmp_path, before=torch.zeros(3), table=stored).table("table")
    indices = np.array([[8, 0], [3, 3]])
    np.testing.assert_array_equal(table.rows(indices), stored.float().numpy()[indices])


def test_checkpoint_of_shards_equals_one_file(checkpoint: Checkpoints) -> None:
    whole, sharded = checkpoint("llama"), checkpoint("llama", shard_size="200KB")
    assert len(list(sharded.glob("model-*.safetensors"))) > 2
    expected = load_file(whole / "model.safetensors")
    found = Checkpoint(sharded)
    assert set(found.names()) == set(expected)
    assert all(torch.equal(found.tensor(name), tensor) for name, tensor in expected.items())


def test_checkpoint_opens_only_the_shards_that_hold_what_is_asked(checkpoint: Checkpoints, tmp_path: Path) -> None:
    folder = _copy(checkpoint("llama", shard_size="200KB"), tmp_path)
    index = json.loads((folder / "model.safetensors.index.json").read_text())["weight_map"]
    needed = {file for name, file in index.items() if ".layers.1." in name or "embed_tokens" in name}
    for file in set(index.values()) - needed:
        (folder / file).write_bytes(b"damaged")
    config = read_config(folder)
    assert isinstance(config, DecoderConfig)
    blocks = load_decoder_blocks(folder, config, 1, 2, lambda shape: torch.nn.Identity(), torch.float32)
    assert len(blocks.blocks) == 1
    with pytest.raises(ModelError, match=r"is no intact safetensors file"):
        _load(folder)


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: data[:-100],
        lambda data: data[:4],
        lambda data: b"",
        lambda data: data + b"extra",
        lambda data: b"\xff" * 8 + data[8:],
        lambda data: data[:8] + b"?" + data[9:],
        lambda data: data.replace(b'"F32"', b'"F3!"', 1),
        lambda data: b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n",
    ],
    ids=["truncated", "4 bytes", "empty", "longer", "huge header", "no json", "unknown type", "git lfs pointer"],
)
def test_checkpoint_damaged_file_is_one_clear_sentence(
    damage: Callable[[bytes], bytes], checkpoint: Checkpoints, tmp_path: Path
) -> None:
    folder = _copy(checkpoint("llama"), tmp_path)
    path = folder / "model.safetensors"
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(ModelError, match=r"is no intact safetensors file .* fetch it again") as caught:
        _load(folder)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


def test_checkpoint_without_weights_is_refused(checkpoint: Checkpoints, tmp_path: Path) -> None:
    folder = _copy(checkpoint("llama"), tmp_path)
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(ModelError, match=r"neither model\.safetensors nor model\.safetensors\.index\.json"):
        _load(folder)


def test_checkpoint_with_a_missing_shard_is_refused(checkpoint: Checkpoints, tmp_path: Path) -> None:
    folder = _copy(checkpoint("llama", shard_size="200KB"), tmp_path)
    lost = sorted(folder.glob("model-*.safetensors"))[-1]
    lost.unlink()
    with pytest.raises(ModelError, match=f"{lost.name} is missing: fetch the model's complete folder"):
        _load(folder)


@pytest.mark.parametrize("content", ["{}", '{"weight_map": {"a": 1}}', '{"weight_map": {"a": "../../secret"}}', "{"])
def test_checkpoint_with_a_senseless_index_is_refused(content: str, tmp_path: Path) -> None:
    (tmp_path / "model.safetensors.index.json").write_text(content)
    with pytest.raises(ModelError, match=r"model\.safetensors\.index\.json"):
        Checkpoint(tmp_path).tensor("a")


def _changed(folder: Path, target: Path, change: Callable[[dict[str, torch.Tensor]], None]) -> Path:
    copy = _copy(folder, target)
    tensors = load_file(copy / "model.safetensors")
    change(tensors)
    save_file(tensors, copy / "model.safetensors")
    return copy


NAME = "model.layers.2.mlp.up_proj.weight"


def test_checkpoint_missing_tensor_is_named(checkpoint: Checkpoints, tmp_path: Path) -> None:
    folder = _changed(checkpoint("llama"), tmp_path, lambda tensors: tensors.__delitem__(NAME))
    with pytest.raises(ModelError, match=f"copy lacks the tensor {NAME}: fetch a complete checkpoint"):
        _load(folder)


@pytest.mark.parametrize("dtype", [torch.int8, torch.float8_e4m3fn, torch.float64])
def test_checkpoint_wrong_type_is_named(dtype: torch.dtype, checkpoint: Checkpoints, tmp_path: Path) -> None:
    folder = _changed(checkpoint("llama"), tmp_path, lambda tensors: tensors.update({NAME: tensors[NAME].to(dtype)}))
    with pytest.raises(ModelError, match=f"holds {NAME} as .*, which is not supported: use a checkpoint in F32"):
        _load(folder)


def test_checkpoint_wrong_shape_is_named(checkpoint: Checkpoints, tmp_path: Path) -> None:
    folder = _changed(
        checkpoint("llama"), tmp_path, lambda tensors: tensors.update({NAME: tensors[NAME][:-1].contiguous()})
    )
    with pytest.raises(ModelError, match=rf"holds {NAME} of shape \[127, 64\] where config.json wants \[128, 64\]"):
        _load(folder)


def test_loading_refuses_a_range_that_the_model_lacks(checkpoint: Checkpoints) -> None:
    folder = checkpoint("llama")
    config = read_config(folder)
    assert isinstance(config, DecoderConfig)
    for first, last in ((0, 5), (-1, 2), (2, 2)):
        with pytest.raises(ModelError, match=f"has blocks 0-4; {first}-{last} is no range of them"):
            load_decoder_blocks(folder, config, first, last, lambda shape: torch.nn.Identity(), torch.float32)
