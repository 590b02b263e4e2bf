"""A decoder's exits: trained on text, kept beside the model, used for drafts, and refused beside another model."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from hetero.backends.base import KvSpec
from hetero.errors import InvalidRequestError, ModelError
from hetero.exits.drafting_heads import read_map, trained_depths
from hetero.exits.drafting_making import make_maps
from hetero.limits import choose_draft_depth
from hetero.models.config import DecoderConfig
from hetero.models.config_reader import read_config
from hetero.models.source import resolve
from hetero.pipeline.local import LocalPipeline
from placement.types import Device, DeviceKind, Plan, Stage

CPU = Device("cpu", DeviceKind.CPU, ("torch",), ("fp32",), 2**30)
PLAN = Plan((Stage(CPU, "torch", 0, 6, "fp32"),), "a test")


def decoder(folder: Path) -> DecoderConfig:
    config = read_config(folder)
    assert isinstance(config, DecoderConfig)
    return config


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Made by repeating what the tests have, in another order each time."""
    path = tmp_path_factory.mktemp("text") / "text.txt"
    lines = (Path(__file__).parents[2] / "data" / "tiny_held_out.txt").read_text(encoding="utf-8").splitlines()
    random = np.random.default_rng(0)
    path.write_text("\n".join(lines[i] for _ in range(4) for i in random.permutation(len(lines))), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def with_exits(text: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "tiny"
    shutil.copytree(resolve("tiny"), folder)
    make_maps(folder, decoder(folder), text, (1, 3), lambda done, whole, what: None, epochs=2, seed=0)
    return folder


def test_map_says_more_often_what_full_depth_says(with_exits: Path) -> None:
    card = json.loads((with_exits / "exits" / "card.json").read_text())
    assert card["depths"] == [1, 3]
    assert card["agreement"][0] > card["plain_agreement"][0]
    exit_map = read_map(with_exits, decoder(with_exits), 1)
    assert exit_map is not None
    assert exit_map.weight.shape == (256, 256)
    assert read_map(with_exits, decoder(with_exits), 2) is None


def test_deepest_trained_exit_in_the_first_stage_drafts(with_exits: Path) -> None:
    assert choose_draft_depth(with_exits, decoder(with_exits), PLAN, "verify", None) == 3
    assert choose_draft_depth(with_exits, decoder(with_exits), PLAN, "verify", 1) == 1


def test_exits_of_another_model_are_refused_with_a_way_out(with_exits: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(with_exits, other)
    config = json.loads((other / "config.json").read_text())
    (other / "config.json").write_text(json.dumps(config | {"rms_norm_eps": 1e-5}))
    with pytest.raises(ModelError, match=r"another model: weights .* where .*train them"):
        trained_depths(other, decoder(other))
    with pytest.raises(ModelError, match="another model"):
        LocalPipeline(other, PLAN, KvSpec(16, 32, 2, 128), threads=1, draft_depth=3)


@pytest.mark.parametrize("name", ["exits.3.weight", None])
def test_damaged_exits_are_refused(with_exits: Path, tmp_path: Path, name: str | None) -> None:
    from safetensors.numpy import load_file, save_file

    copy = tmp_path / "copy"
    shutil.copytree(with_exits, copy)
    path = copy / "exits" / "heads.safetensors"
    if name is None:
        path.write_bytes(b"nothing")
    else:
        save_file(load_file(path) | {name: np.zeros((4, 4), np.float32)}, str(path))
    with pytest.raises(ModelError, match="train"):
        read_map(copy, decoder(copy), 3)


@pytest.mark.parametrize(("depths", "words"), [((0,), "from 1 to 5"), ((4, 2), "must rise"), ((6,), "from 1 to 5")])
def test_depths_outside_the_model_are_refused(text: Path, depths: tuple[int, ...], words: str) -> None:
    folder = resolve("tiny")
    with pytest.raises(InvalidRequestError, match=words):
        make_maps(folder, decoder(folder), text, depths, lambda done, whole, what: None, 1, 0)


def test_too_little_text_is_refused(tmp_path: Path) -> None:
    folder, short = resolve("tiny"), tmp_path / "short.txt"
    short.write_text("In the beginning")
    with pytest.raises(InvalidRequestError, match="too few to train exits; give at least 4096"):
        make_maps(folder, decoder(folder), short, (2,), lambda done, whole, what: None, 1, 0)
