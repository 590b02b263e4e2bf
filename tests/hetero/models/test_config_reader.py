"""Configurations: what is read of every family's own `config.json`, and how each wrong one is refused."""

import json
import re
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from hetero.errors import ModelError
from hetero.models.config import DecoderConfig, EncoderConfig
from hetero.models.config_decoders import ACTIVATION_NAMES
from hetero.models.config_reader import read_config
from hetero.models.decoder import ACTIVATIONS

Checkpoints = Callable[..., Path]
LLAMA: dict[str, Any] = {"model_type": "llama", "architectures": ["LlamaForCausalLM"], "hidden_size": 64,
                         "num_attention_heads": 4, "num_hidden_layers": 3, "intermediate_size": 96,
                         "vocab_size": 100}  # fmt: skip


def _read(folder: Path, values: dict[str, Any]) -> DecoderConfig:
    (folder / "config.json").write_text(json.dumps(values))
    config = read_config(folder)
    assert isinstance(config, DecoderConfig)
    return config


@pytest.mark.parametrize(
    ("family", "wanted"),
    [
        ("llama", {"kv_head_count": 2, "head_size": 16, "qkv_bias": False, "tied_head": False, "gated_mlp": True}),
        ("smollm", {"family": "llama", "tied_head": True}),
        ("mistral", {"sliding_windows": (40,) * 4, "head_size": 16, "qkv_bias": False}),
        ("qwen2", {"qkv_bias": True, "output_bias": False, "tied_head": True, "sliding_windows": (0,) * 4}),
        ("qwen3", {"qk_norm": True, "head_size": 32, "qkv_bias": False}),
        ("gpt2", {"positions": "learned", "norm": "layer", "gated_mlp": False, "intermediate_size": 256,
                  "tied_head": True, "activation": "gelu_new", "max_context": 256}),
        ("bert", {"position_offset": 0, "token_type_count": 2, "pooling": "mean", "normalized": False, "labels": ()}),
        ("minilm", {"family": "bert", "normalized": True, "block_count": 6}),
        ("roberta", {"position_offset": 2, "token_type_count": 1, "pad_token_id": 1, "max_context": 256}),
        ("distilbert", {"token_type_count": 0, "hidden_size": 64, "intermediate_size": 128, "norm_epsilon": 1e-12}),
        ("bert-classifier", {"labels": ("bad", "fair", "good")}),
    ],
)  # fmt: skip
def test_config_of_each_family(family: str, wanted: dict[str, Any], checkpoint: Checkpoints) -> None:
    config = read_config(checkpoint(family))
    assert {name: getattr(config, name) for name in wanted} == wanted
    assert hash(config) == hash(read_config(checkpoint(family)))


def test_config_names_only_activations_that_exist() -> None:
    assert set(ACTIVATION_NAMES.values()) == set(ACTIVATIONS)


def test_config_end_tokens_come_from_the_generation_settings_first(tmp_path: Path) -> None:
    (tmp_path / "generation_config.json").write_text(json.dumps({"eos_token_id": [7, 9]}))
    assert _read(tmp_path, LLAMA | {"eos_token_id": 2, "bos_token_id": 1}).eos_token_ids == (7, 9)
    assert _read(tmp_path, LLAMA | {"bos_token_id": 1}).bos_token_id == 1


def test_config_llama_attention_bias_gives_the_output_one_too(tmp_path: Path) -> None:
    config = _read(tmp_path, LLAMA | {"attention_bias": True, "mlp_bias": True})
    assert (config.qkv_bias, config.output_bias, config.mlp_bias) == (True, True, True)


@pytest.mark.parametrize(
    ("values", "windows"),
    [
        ({"model_type": "mistral", "sliding_window": None}, (0, 0, 0)),
        ({"model_type": "mistral"}, (4096,) * 3),
        ({"model_type": "qwen2", "sliding_window": 16}, (0, 0, 0)),
        ({"model_type": "qwen2", "sliding_window": 16, "use_sliding_window": True, "max_window_layers": 1},
         (0, 16, 16)),
        ({"model_type": "qwen3", "sliding_window": 8, "use_sliding_window": True,
          "layer_types": ["sliding_attention", "full_attention", "sliding_attention"]}, (8, 0, 8)),
        ({"model_type": "qwen2", "use_sliding_window": True, "sliding_window": None, "max_window_layers": 1},
         (0, 0, 0)),
    ],
)  # fmt: skip
def test_config_sliding_windows_by_block(values: dict[str, Any], windows: tuple[int, ...], tmp_path: Path) -> None:
    from transformers import AutoConfig

    config = _read(tmp_path, LLAMA | {"architectures": None, "num_key_value_heads": 4} | values)
    assert config.sliding_windows == windows
    theirs = AutoConfig.from_pretrained(tmp_path)
    layers = getattr(theirs, "layer_types", None) or ["sliding_attention"] * 3
    assert windows == tuple((theirs.sliding_window or 0) * (kind == "sliding_attention") for kind in layers)


@pytest.mark.parametrize(
    ("model_type", "values"),
    [
        ("mistral", {}),
        ("qwen2", {"num_attention_heads": 32}),
        ("qwen2", {"num_key_value_heads": None}),
        ("qwen3", {}),
    ],
)
def test_config_absent_keys_have_the_defaults_of_transformers(
    model_type: str, values: dict[str, Any], tmp_path: Path
) -> None:
    from transformers import AutoConfig

    written = LLAMA | {"model_type": model_type, "architectures": None, "num_attention_heads": 32} | values
    ours, theirs = _read(tmp_path, written), AutoConfig.from_pretrained(tmp_path)
    assert ours.kv_head_count == theirs.num_key_value_heads
    assert ours.max_context == theirs.max_position_embeddings
    assert ours.norm_epsilon == theirs.rms_norm_eps
    assert ours.head_size == (getattr(theirs, "head_dim", None) or 2)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"model_type": "t5"}, "'model_type' is 't5', which is not supported: use one of llama, mistral"),
        ({"model_type": None}, "'model_type' is missing"),
        ({"architectures": ["LlamaForSequenceClassification"]}, "'architectures' is"),
        ({"architectures": ["Qwen2ForRewardModel"], "model_type": "qwen2"}, "'architectures' is"),
        ({"is_causal": False}, "'is_causal' is False, which is not supported: use a decoder whose tokens"),
        ({"per_layer_config": {"1": {"intermediate_size": 8}}}, "use a model whose blocks are all alike"),
        ({"hidden_size": None}, "'hidden_size' is missing, but must be a whole number of at least 1"),
        ({"hidden_size": "64"}, "'hidden_size' is '64'"),
        ({"hidden_size": 0}, "'hidden_size' is 0"),
        ({"num_hidden_layers": True}, "'num_hidden_layers' is True"),
        ({"num_attention_heads": 5}, "'num_attention_heads' is 5, which is not supported: it must divide"),
        ({"num_key_value_heads": 3}, "'num_key_value_heads' is 3"),
        ({"head_dim": 7}, "'head_dim' is 7"),
        ({"hidden_act": "mystery"}, "'hidden_act' is 'mystery', but must be one of"),
        ({"rms_norm_eps": -1}, "'rms_norm_eps' is -1"),
        ({"tie_word_embeddings": "yes"}, "'tie_word_embeddings' is 'yes', but must be true or false"),
        ({"eos_token_id": "end"}, "'eos_token_id' is 'end'"),
        ({"dtype": "float8_e4m3fn"}, "'dtype' is 'float8_e4m3fn'"),
        ({"quantization_config": {"quant_method": "fp8"}}, "unquantised"),
        (
            {"model_type": "gpt2", "architectures": None, "scale_attn_by_inverse_layer_idx": True},
            "usual attention scale",
        ),
        ({"model_type": "bert", "architectures": ["BertForTokenClassification"]}, "'architectures' is"),
        (
            {
                "model_type": "bert",
                "architectures": ["BertForSequenceClassification"],
                "problem_type": "multi_label_classification",
            },
            "'problem_type' is 'multi_label_classification', which is not supported: use a classifier of which each",
        ),
        ({"model_type": "bert", "architectures": None, "position_embedding_type": "relative_key"}, "absolute"),
        (
            {
                "model_type": "qwen3",
                "num_key_value_heads": 2,
                "use_sliding_window": True,
                "layer_types": ["full_attention"],
            },
            "'layer_types'",
        ),
    ],
)
def test_config_refuses_with_one_sentence_that_names_file_and_key(
    change: dict[str, Any], named: str, tmp_path: Path
) -> None:
    with pytest.raises(ModelError, match=re.escape(named)) as caught:
        _read(tmp_path, LLAMA | change)
    assert str(caught.value).startswith(f"{tmp_path / 'config.json'}: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "named"),
    [(None, "config.json is missing"), (b"{", "cannot be read as JSON"), (b"[]", "no JSON object"),
     (b"\xff\xfe\x00", "cannot be read as JSON")],
)  # fmt: skip
def test_config_file_that_cannot_be_read_is_refused(content: bytes | None, named: str, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / "config.json").write_bytes(content)
    with pytest.raises(ModelError, match=named):
        read_config(tmp_path)


def test_config_of_no_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="is not a folder: give a Hugging Face model folder"):
        read_config(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("pooling", "wanted"),
    [
        ({"pooling_mode": "cls"}, "cls"),
        ({"pooling_mode": ["mean"]}, "mean"),
        ({"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}, "cls"),
        ({"pooling_mode_mean_tokens": True}, "mean"),
    ],
)
def test_config_pooling_in_both_forms(pooling: dict[str, Any], wanted: str, model_factory: Any, tmp_path: Path) -> None:
    folder = model_factory.write_checkpoint("bert", tmp_path)
    model_factory.write_pooling(folder, "mean", normalized=True)
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(pooling))
    config = read_config(folder)
    assert isinstance(config, EncoderConfig)
    assert (config.pooling, config.normalized) == (wanted, True)


def test_config_refuses_pooling_and_modules_that_it_lacks(model_factory: Any, tmp_path: Path) -> None:
    folder = model_factory.write_checkpoint("bert", tmp_path)
    model_factory.write_pooling(folder, "max", normalized=False)
    with pytest.raises(ModelError, match="use a model with mean or CLS pooling"):
        read_config(folder)
    (folder / "modules.json").write_text(json.dumps([{"type": "sentence_transformers.models.Dense", "path": "2"}]))
    with pytest.raises(ModelError, match="names a module Dense, which is not supported"):
        read_config(folder)
    (folder / "modules.json").write_text("{}x")
    with pytest.raises(ModelError, match="no list of sentence-transformers modules"):
        read_config(folder)


def test_config_values_are_plain(checkpoint: Checkpoints) -> None:
    config = read_config(checkpoint("llama"))
    plain = (str, int, float, bool, tuple, type(None))
    assert all(isinstance(getattr(config, field.name), plain) for field in fields(config))
