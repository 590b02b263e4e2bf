"""Rotary tables against `transformers`' own, for every variant, written in the newer and in the older form."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from hetero.errors import ModelError
from hetero.models.config import DecoderConfig
from hetero.models.config_reader import read_config
from hetero.models.rotary import RotaryTable

BASE: dict[str, Any] = {"hidden_size": 64, "num_attention_heads": 4, "num_hidden_layers": 2, "intermediate_size": 64,
                        "vocab_size": 32, "max_position_embeddings": 4096}  # fmt: skip
LONG = {"short_factor": [1.0, 1.1, 1.2, 1.5, 2.0, 2.5, 3.0, 4.0], "long_factor": [2.0] * 8}
VARIANTS: dict[str, dict[str, Any]] = {
    "default": {"rope_type": "default"},
    "linear": {"rope_type": "linear", "factor": 4.0},
    "dynamic": {"rope_type": "dynamic", "factor": 2.0},
    "yarn": {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 1024},
    "yarn-betas": {"rope_type": "yarn", "factor": 8.0, "original_max_position_embeddings": 512, "beta_fast": 16.0,
                   "beta_slow": 2.0, "truncate": False},
    "yarn-factor": {"rope_type": "yarn", "factor": 2.0, "original_max_position_embeddings": 2048,
                    "attention_factor": 0.7},
    "yarn-mscale": {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 1024, "mscale": 1.2,
                    "mscale_all_dim": 0.8},
    "llama3": {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
               "original_max_position_embeddings": 512},
    "longrope": {"rope_type": "longrope", "original_max_position_embeddings": 1024, **LONG},
    "longrope-factor": {"rope_type": "longrope", "factor": 3.0, "original_max_position_embeddings": 1024, **LONG},
}  # fmt: skip


def _write(folder: Path, **values: Any) -> DecoderConfig:
    (folder / "config.json").write_text(json.dumps({"model_type": "llama", **BASE, **values}))
    config = read_config(folder)
    assert isinstance(config, DecoderConfig)
    return config


def _wanted(rope: dict[str, Any], theta: float, positions: np.ndarray, family: str = "Llama") -> list[np.ndarray]:
    import transformers
    from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding

    parameters = {**rope, "rope_theta": theta}
    config = getattr(transformers, f"{family}Config")(**BASE, rope_parameters=parameters)
    tables = LlamaRotaryEmbedding(config)(torch.zeros(1, dtype=torch.float32), torch.from_numpy(positions)[None])
    return [table[0].numpy() for table in tables]


def _reachable(config: DecoderConfig) -> np.ndarray:
    return np.unique(np.r_[np.arange(64), np.linspace(64, config.max_context - 1, 200).astype(np.int64)])


@pytest.mark.parametrize("variant", VARIANTS)
def test_rotary_rows_equal_transformers_over_the_whole_context(variant: str, tmp_path: Path) -> None:
    config = _write(tmp_path, rope_parameters={**VARIANTS[variant], "rope_theta": 50_000.0})
    positions = _reachable(config)
    for found, wanted in zip(
        RotaryTable(config).rows(positions), _wanted(VARIANTS[variant], 50_000.0, positions), strict=True
    ):
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, wanted, atol=3e-6)


@pytest.mark.parametrize("key", ["type", "rope_type"])
@pytest.mark.parametrize("variant", VARIANTS)
def test_rotary_older_form_reads_like_the_newer(variant: str, key: str, tmp_path: Path) -> None:
    newer = _write(tmp_path, rope_parameters={**VARIANTS[variant], "rope_theta": 50_000.0})
    older = {key: VARIANTS[variant]["rope_type"], **{k: v for k, v in VARIANTS[variant].items() if k != "rope_type"}}
    assert _write(tmp_path, rope_theta=50_000.0, rope_scaling=older) == newer


def test_rotary_without_any_keys_is_the_default(tmp_path: Path) -> None:
    config = _write(tmp_path)
    assert dict(config.rope_parameters) == {"rope_type": "default", "rope_theta": 10_000.0}
    assert config == _write(tmp_path, rope_scaling=None, rope_theta=10_000.0)


def test_rotary_older_form_counts_before_the_newer_as_in_transformers(tmp_path: Path) -> None:
    from transformers import AutoConfig

    newer = {"rope_type": "default", "rope_theta": 50_000.0}
    config = _write(tmp_path, rope_parameters=newer, rope_scaling=VARIANTS["linear"])
    wanted = AutoConfig.from_pretrained(tmp_path).rope_parameters
    assert dict(config.rope_parameters) == wanted == {"rope_type": "linear", "factor": 4.0, "rope_theta": 10_000.0}


def test_rotary_length_dependent_variants_bound_the_context_to_their_short_form(tmp_path: Path) -> None:
    assert _write(tmp_path, rope_parameters=VARIANTS["longrope"]).max_context == 1024
    assert _write(tmp_path, rope_parameters=VARIANTS["dynamic"]).max_context == 4096
    assert _write(tmp_path, rope_parameters=VARIANTS["yarn"]).max_context == 4096


def test_rotary_rows_of_learned_positions_change_nothing(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "gpt2", "n_embd": 32, "n_head": 4, "n_layer": 1,
                                                      "vocab_size": 9}))  # fmt: skip
    config = read_config(tmp_path)
    assert isinstance(config, DecoderConfig)
    cos, sin = RotaryTable(config).rows(np.arange(5))
    assert cos.shape == sin.shape == (5, 8)
    assert (cos == 1).all() and (sin == 0).all()


@pytest.mark.parametrize(
    ("rope", "named"),
    [
        ({"rope_type": "spiral"}, "'rope_type' is 'spiral'"),
        ({"rope_type": "linear"}, "'factor' is missing"),
        ({"rope_type": "linear", "factor": -1}, "'factor' is -1"),
        ({"rope_type": "llama3", "factor": 8.0}, "'low_freq_factor' is missing"),
        ({"rope_type": "longrope", "factor": 2.0, "short_factor": [], "long_factor": [1.0]}, "'short_factor' is"),
        ({"rope_theta": "big"}, "'rope_theta' is 'big'"),
        ({"partial_rotary_factor": 0.5}, "'partial_rotary_factor' is 0.5"),
        ({"full_attention": {"rope_theta": 1e4}}, "one flat object"),
        ([1, 2], "one flat object"),
    ],
)
def test_rotary_refuses_senseless_parameters(rope: Any, named: str, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=named):
        _write(tmp_path, rope_parameters=rope)


def test_rotary_refuses_long_factors_for_another_head_size(tmp_path: Path) -> None:
    config = _write(tmp_path, head_dim=32, rope_parameters=VARIANTS["longrope"])
    with pytest.raises(ModelError, match="'short_factor' has 8 numbers"):
        RotaryTable(config)
