import json
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from hetero.bench.random_model import PRESETS, random_checkpoint, read_random_config
from hetero.errors import ConfigurationError
from hetero.models.tokenizer import Tokenizer


def test_random_checkpoint_is_a_llama_that_transformers_reads(tmp_path: Path) -> None:
    done: list[tuple[int, int]] = []
    config = read_random_config("tiny")
    folder = random_checkpoint(config, lambda files, whole: done.append((files, whole)), tmp_path)
    model = AutoModelForCausalLM.from_pretrained(folder)
    assert model.config.num_hidden_layers == 4
    assert model.num_parameters() == 4 * (64 * 64 * 2 + 64 * 32 * 2 + 3 * 64 * 128 + 2 * 64) + 2 * 256 * 64 + 64
    assert torch.isfinite(model(torch.tensor([[1, 2, 3]])).logits).all()
    assert done == [(files, 5) for files in range(1, 6)]
    assert Tokenizer(folder).vocabulary_size == 256


def test_random_checkpoint_is_written_once(tmp_path: Path) -> None:
    config = read_random_config("tiny")
    first = random_checkpoint(config, cache=tmp_path)
    written_at = (first / "config.json").stat().st_mtime_ns
    assert random_checkpoint(config, cache=tmp_path) == first
    assert (first / "config.json").stat().st_mtime_ns == written_at
    assert [path.name for path in tmp_path.iterdir()] == [first.name]


def test_random_config_of_another_shape_is_another_folder(tmp_path: Path) -> None:
    file = tmp_path / "shape.json"
    file.write_text(json.dumps({**PRESETS["tiny"], "num_hidden_layers": 2}))
    other = random_checkpoint(read_random_config(str(file)), cache=tmp_path)
    assert other != random_checkpoint(read_random_config("tiny"), cache=tmp_path)
    assert len(list(other.glob("*.safetensors"))) == 3


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "is not JSON"),
        ("[]", "must be a JSON object"),
        ('{"hidden_size": 64}', "intermediate_size"),
        (json.dumps({**PRESETS["tiny"], "hidden_size": -1}), "hidden_size"),
        (json.dumps({**PRESETS["tiny"], "model_type": "bert"}), "must be a llama"),
    ],
)
def test_wrong_random_config_is_refused(tmp_path: Path, text: str, said: str) -> None:
    file = tmp_path / "shape.json"
    file.write_text(text)
    with pytest.raises(ConfigurationError, match=said):
        read_random_config(str(file))
