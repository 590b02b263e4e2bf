"""Reads a Hugging Face folder's `config.json` into plain values; which model types are supported stands here.

Knows what the keys mean for every model; the two kinds of model are read in `config_decoders.py` and
`config_encoders.py`. Reads no weights and imports no tensor library.
"""

from collections.abc import Callable
from pathlib import Path

from hetero.errors import ModelError
from hetero.models.config import ModelConfig
from hetero.models.config_decoders import DECODER_READERS
from hetero.models.config_encoders import ENCODER_READERS
from hetero.models.json_file import Fields, read_json


def read_config(folder: Path) -> ModelConfig:
    """What the runtime knows of the model in `folder`.

    Raises ModelError where `config.json` is missing, unreadable, of an unsupported architecture, or senseless.
    """
    if not folder.is_dir():
        raise ModelError(f"{folder} is not a folder: give a Hugging Face model folder, a hub id, or 'tiny'.")
    path = folder / "config.json"
    fields = Fields(path, read_json(path))
    if fields.get("quantization_config", "compression_config") is not None:
        raise fields.refuse("quantization_config", "set", "use the model's unquantised fp32, fp16 or bf16 checkpoint")
    if fields.get("per_layer_config") is not None:
        raise fields.refuse("per_layer_config", "set", "use a model whose blocks are all alike")
    return _reader(fields)(fields)


def _reader(fields: Fields) -> Callable[[Fields], ModelConfig]:
    readers: dict[str, Callable[[Fields], ModelConfig]] = {**DECODER_READERS, **ENCODER_READERS}
    model_type = fields.text("model_type")
    if model_type not in readers:
        raise fields.refuse("model_type", model_type, f"use one of {', '.join(readers)}")
    return readers[model_type]
