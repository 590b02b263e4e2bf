"""Random checkpoints of a given shape, for measuring: a Llama's files with random weights and a trivial tokenizer.

Knows the layout of such a folder; nothing of engines. What it computes is noise, at the price of the real thing.
"""

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer, models, pre_tokenizers

from hetero.errors import ConfigurationError

#: Called with what is done so far and the whole, in files.
Tell = Callable[[int, int], None]

PRESETS: Mapping[str, Mapping[str, object]] = {
    "0.4b": {
        "hidden_size": 896,
        "intermediate_size": 4864,
        "num_hidden_layers": 24,
        "num_attention_heads": 14,
        "num_key_value_heads": 2,
        "vocab_size": 32000,
    },
    "tiny": {
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 4,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "vocab_size": 256,
    },
}
_DEFAULTS: Mapping[str, object] = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_act": "silu",
    "max_position_embeddings": 4096,
    "rms_norm_eps": 1e-5,
    "rope_theta": 10000.0,
    "tie_word_embeddings": False,
    "torch_dtype": "float16",
    "bos_token_id": None,
    "eos_token_id": None,
}
_DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
_SIZES = ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "vocab_size")
_STANDARD_DEVIATION = 0.02

Config = dict[str, object]
Tensors = dict[str, torch.Tensor]


def read_random_config(name: str) -> Config:
    """A preset, or a JSON file with a Llama's sizes; what it leaves out has Llama's defaults.

    Raises ConfigurationError where it is neither, or a size is missing.
    """
    if name in PRESETS:
        given: Mapping[str, object] = PRESETS[name]
    else:
        given = _read_file(Path(name))
    config = {**_DEFAULTS, **given}
    config.setdefault("num_key_value_heads", config.get("num_attention_heads"))
    for size in (*_SIZES, "num_key_value_heads"):
        if not isinstance(config.get(size), int) or int(str(config[size])) < 1:
            raise ConfigurationError(f"the random configuration {name!r} needs a positive whole number as {size!r}")
    if config["model_type"] != "llama" or config["torch_dtype"] not in _DTYPES:
        raise ConfigurationError(f"the random configuration {name!r} must be a llama of dtype {', '.join(_DTYPES)}")
    return config


def random_checkpoint(config: Config, tell: Tell = lambda done, whole: None, cache: Path | None = None) -> Path:
    """The folder of a checkpoint of this shape, written at the first call (one file a block) and kept in the cache."""
    key = hashlib.sha256(json.dumps(config, sort_keys=True).encode()).hexdigest()[:12]
    folder = (cache or _cache()) / f"random-{key}"
    if folder.is_dir():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as made:
        _write(config, Path(made), tell)
        # In one step, so that an interrupted write leaves no half of a model.
        shutil.copytree(made, f"{made}-whole", copy_function=os.link)
        os.replace(f"{made}-whole", folder)
    return folder


def _cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "hetero"


def _read_file(path: Path) -> Config:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except OSError:
        raise ConfigurationError(
            f"there is no random configuration {str(path)!r}: give a JSON file or one of {', '.join(PRESETS)}"
        ) from None
    except ValueError:
        raise ConfigurationError(f"the random configuration {str(path)!r} is not JSON") from None
    if not isinstance(values, dict):
        raise ConfigurationError(f"the random configuration {str(path)!r} must be a JSON object")
    return values


def _write(config: Config, folder: Path, tell: Tell) -> None:
    whole = _size(config, "num_hidden_layers") + 1
    places: dict[str, str] = {}
    for done, tensors in enumerate(_files(config)):
        name = f"model-{done + 1:05}-of-{whole:05}.safetensors"
        save_file(tensors, folder / name, metadata={"format": "pt"})
        places.update(dict.fromkeys(tensors, name))
        tell(done + 1, whole)
    index = {"metadata": {}, "weight_map": places}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index), encoding="utf-8")
    (folder / "config.json").write_text(json.dumps(config, indent=2), encoding="utf-8")
    _tokenizer(_size(config, "vocab_size")).save(str(folder / "tokenizer.json"))


def _files(config: Config) -> Iterator[Tensors]:
    """The tensors of each file in turn: the ends first, then every block."""
    random = torch.Generator().manual_seed(0)
    dtype = _DTYPES[str(config["torch_dtype"])]

    def matrix(rows: int, columns: int) -> torch.Tensor:
        return (torch.randn(rows, columns, generator=random) * _STANDARD_DEVIATION).to(dtype)

    hidden, vocabulary = _size(config, "hidden_size"), _size(config, "vocab_size")
    ends = {
        "model.embed_tokens.weight": matrix(vocabulary, hidden),
        "model.norm.weight": torch.ones(hidden, dtype=dtype),
    }
    if not config["tie_word_embeddings"]:
        ends["lm_head.weight"] = matrix(vocabulary, hidden)
    yield ends
    for block in range(_size(config, "num_hidden_layers")):
        yield {f"model.layers.{block}.{name}": matrix(*shape) for name, shape in _matrices(config)} | {
            f"model.layers.{block}.{name}.weight": torch.ones(hidden, dtype=dtype)
            for name in ("input_layernorm", "post_attention_layernorm")
        }


def _matrices(config: Config) -> Iterator[tuple[str, tuple[int, int]]]:
    hidden, wide = _size(config, "hidden_size"), _size(config, "intermediate_size")
    keys = hidden // _size(config, "num_attention_heads") * _size(config, "num_key_value_heads")
    yield "self_attn.q_proj.weight", (hidden, hidden)
    yield "self_attn.k_proj.weight", (keys, hidden)
    yield "self_attn.v_proj.weight", (keys, hidden)
    yield "self_attn.o_proj.weight", (hidden, hidden)
    yield "mlp.gate_proj.weight", (wide, hidden)
    yield "mlp.up_proj.weight", (wide, hidden)
    yield "mlp.down_proj.weight", (hidden, wide)


def _tokenizer(vocabulary_size: int) -> Tokenizer:
    """One word an id, so that any id has a text."""
    tokenizer = Tokenizer(models.WordLevel({f"w{index}": index for index in range(vocabulary_size)}, unk_token="w0"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    return tokenizer


def _size(config: Config, name: str) -> int:
    return int(str(config[name]))
