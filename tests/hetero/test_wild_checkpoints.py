"""Checkpoints as they lie on the hub, which differ from what `transformers` saves today: other shapes of heads, other
activations, other places of a key, buffers and mixed types among the tensors. Logits equal those of `transformers`.
"""

import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from hetero.backends import get_backend

Tensors = dict[str, torch.Tensor]
LLAMA3 = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
          "original_max_position_embeddings": 64}  # fmt: skip
OLD_ROPE = {"rope_parameters": None, "rope_theta": 500_000.0, "rope_scaling": LLAMA3}
YARN = {"rope_scaling": {"type": "yarn", "factor": 4.0, "original_max_position_embeddings": 64}}

#: Name to (family, settings of the random model, keys laid over its config.json).
SHAPES: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "llama 3.2": ("smollm", {"num_key_value_heads": 1}, OLD_ROPE | {"torch_dtype": "bfloat16", "dtype": None}),
    "smollm, 9 heads": ("smollm", {"hidden_size": 72, "num_attention_heads": 9, "num_key_value_heads": 3}, {}),
    "llama with biases": ("llama", {"attention_bias": True, "mlp_bias": True, "hidden_act": "gelu"}, {}),
    "llama, odd heads": ("llama", {"head_dim": 10, "hidden_act": "relu"}, {"pretraining_tp": 2}),
    "mistral 0.3": ("mistral", {"sliding_window": None}, {}),
    "mistral nemo": ("mistral", {"sliding_window": None, "head_dim": 32}, {}),
    "qwen2.5": ("qwen2", {"hidden_size": 112, "num_attention_heads": 14, "use_sliding_window": False},
                {"sliding_window": 16, "max_window_layers": 2}),
    "qwen2.5 lengthened": ("qwen2", {}, YARN),
    "qwen2 with windows": ("qwen2", {"use_sliding_window": True, "sliding_window": 16, "max_window_layers": 2}, {}),
    "qwen3 of 128": ("qwen3", {"head_dim": 128, "tie_word_embeddings": True}, {}),
    "qwen3 with biases": ("qwen3", {"attention_bias": True}, {}),
    "gpt2, other sizes": ("gpt2", {"n_inner": 100, "activation_function": "gelu"}, {"n_ctx": 256}),
    "gpt2 untied": ("gpt2", {"tie_word_embeddings": False, "reorder_and_upcast_attn": True}, {}),
}  # fmt: skip
PROMPTS = [np.random.default_rng(5).integers(3, 320, length).tolist() for length in (70, 9, 1)]
ROUNDS = [(40, 9, 0), (29, 0, 1), (1, 0, 0)]


def check_logits(folder: Path, driver: ModuleType, engines: tuple[str, str]) -> None:
    """Every token's logits of two stages on `engines` against `transformers`, in fp32."""
    from transformers import AutoModelForCausalLM

    specs = driver.cut_specs(folder, (0, 2, 4))
    chain = driver.Chain([get_backend(engine).compile(spec) for engine, spec in zip(engines, specs, strict=True)])
    found = chain.feed(PROMPTS, ROUNDS)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    with torch.no_grad():
        for ids, ours in zip(PROMPTS, found, strict=True):
            wanted = model(torch.tensor([ids])).logits[0].numpy()
            np.testing.assert_allclose(ours, wanted, atol=1e-4, rtol=1e-4)
    for piece in chain.slices:
        piece.close()


@pytest.mark.parametrize("name", SHAPES)
def test_wild_shape_equals_transformers(
    name: str, model_factory: ModuleType, slice_driver: ModuleType, tmp_path: Path
) -> None:
    family, settings, keys = SHAPES[name]
    folder = model_factory.write_checkpoint(family, tmp_path, **settings)
    path = folder / "config.json"
    merged = json.loads(path.read_text()) | keys
    path.write_text(json.dumps({key: value for key, value in merged.items() if value is not None or key not in keys}))
    check_logits(folder, slice_driver, ("torch", "openvino"))


def _old_gpt2(tensors: Tensors) -> Tensors:
    """As the first GPT-2 files are: without prefix, with the masks of attention, with the head."""
    bare = {name.removeprefix("transformer."): tensor for name, tensor in tensors.items()}
    masks = {f"h.{i}.attn.bias": torch.ones(1, 1, 256, 256, dtype=torch.uint8).tril() for i in range(4)}
    fill = {f"h.{i}.attn.masked_bias": torch.tensor(-1e4) for i in range(4)}
    return bare | masks | fill | {"lm_head.weight": bare["wte.weight"].clone()}


def _mixed(tensors: Tensors) -> Tensors:
    """Three types in one file."""
    return {
        name: tensor.bfloat16() if "mlp" in name else tensor.half() if "q_proj" in name else tensor
        for name, tensor in tensors.items()
    }


def _older_llama(tensors: Tensors) -> Tensors:
    """With rotary buffers, and a block more than config.json says."""
    buffers = {f"model.layers.{i}.self_attn.rotary_emb.inv_freq": torch.zeros(8) for i in range(4)}
    return tensors | buffers | {"model.layers.4.input_layernorm.weight": torch.zeros(64)}


def _own_head(tensors: Tensors) -> Tensors:
    """Tied by config.json, but stored with values of its own."""
    return tensors | {"lm_head.weight": tensors["model.embed_tokens.weight"].flip(0)}


@pytest.mark.parametrize(
    ("family", "change"),
    [("gpt2", _old_gpt2), ("llama", _mixed), ("llama", _older_llama), ("smollm", _own_head)],
)
def test_wild_tensors_equal_transformers(
    family: str,
    change: Callable[[Tensors], Tensors],
    model_factory: ModuleType,
    slice_driver: ModuleType,
    tmp_path: Path,
) -> None:
    folder = model_factory.write_checkpoint(family, tmp_path)
    changed = {name: tensor.contiguous() for name, tensor in change(load_file(folder / "model.safetensors")).items()}
    save_file(changed, folder / "model.safetensors", metadata={"format": "pt"})
    check_logits(folder, slice_driver, ("torch", "torch"))
