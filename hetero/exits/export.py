"""Writes a jointly trained encoder as a Hugging Face folder of its own: a classifier that any tool reads.

Knows file names and how the checkpoint calls its tensors; nothing of training.
"""

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from hetero.exits.network import ExitingEncoder
from hetero.models import names
from hetero.models.config import EncoderConfig
from hetero.models.json_file import read_json
from hetero.models.names import Source
from hetero.models.weights import Checkpoint

_CLASSIFIERS = {
    "bert": "BertForSequenceClassification",
    "roberta": "RobertaForSequenceClassification",
    "distilbert": "DistilBertForSequenceClassification",
}
#: What a classifier needs beside its weights; how sentence vectors are pooled is no part of it.
_KEPT = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "vocab.txt", "vocab.json", "merges.txt")


def write_classifier(
    source: Path, config: EncoderConfig, network: ExitingEncoder, labels: Sequence[str], target: Path
) -> None:
    """Write `network`'s backbone and last head into the folder `target`."""
    target.mkdir(parents=True, exist_ok=True)
    for name in _KEPT:
        if (source / name).is_file():
            shutil.copyfile(source / name, target / name)
    _write_config(source, config, labels, target)
    _write_weights(source, config, network, target)


def _write_config(source: Path, config: EncoderConfig, labels: Sequence[str], target: Path) -> None:
    values = read_json(source / "config.json")
    values["architectures"] = [_CLASSIFIERS[config.family]]
    values["id2label"] = {str(index): label for index, label in enumerate(labels)}
    values["label2id"] = {label: index for index, label in enumerate(labels)}
    values["torch_dtype"] = "float32"
    values.pop("dtype", None)
    (target / "config.json").write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")


def _write_weights(source: Path, config: EncoderConfig, network: ExitingEncoder, target: Path) -> None:
    from safetensors.torch import save_file

    checkpoint = Checkpoint(source)
    prefix = names.body_prefix(checkpoint, config)
    embedding = [source.name for source in names.encoder_embedding(checkpoint, config).values()]
    tensors = {name: checkpoint.tensor(name).float() for name in embedding}
    for index, block in enumerate(network.blocks):
        tensors |= _named(block, names.encoder_block(checkpoint, config, index))
    tensors |= _named(network.final, names.classification_head(checkpoint, config))
    # A bare body's names have no prefix, a classifier's have; the head itself has none in either.
    bare = "" if prefix else f"{config.family}."
    named = {name if _is_head(name) else bare + name: tensor.contiguous().clone() for name, tensor in tensors.items()}
    save_file(named, str(target / "model.safetensors"), {"format": "pt"})


def _is_head(name: str) -> bool:
    return name.startswith(("classifier.", "pre_classifier."))


def _named(module: nn.Module, sources: Mapping[str, Source]) -> dict[str, Tensor]:
    """The module's parameters under the checkpoint's names."""
    return {sources[name].name: parameter.detach().to(torch.float32) for name, parameter in module.named_parameters()}
