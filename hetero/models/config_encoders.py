"""Reads the encoders' configurations: BERT (and MiniLM, which is one), RoBERTa and DistilBERT, and what the
sentence-transformers files beside them say of pooling.

Knows each family's keys and the defaults that `transformers` 5.23 gives to absent ones.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from hetero.errors import ModelError
from hetero.models.config import EncoderConfig
from hetero.models.config_decoders import ACTIVATION_NAMES, check_architecture, read_dtype
from hetero.models.json_file import Fields, read_json

Pooling = Literal["mean", "cls"]
_ENDINGS = ("Model", "ForMaskedLM", "ForPreTraining", "ForSequenceClassification")


def _read_labels(fields: Fields, architecture: str) -> tuple[str, ...]:
    """The classes' names in order; empty where the model has no classification head."""
    if not architecture.endswith("ForSequenceClassification"):
        return ()
    named = fields.get("id2label")
    if named is None:
        return tuple(f"LABEL_{i}" for i in range(fields.count("num_labels", default=2)))
    if not isinstance(named, dict) or set(named) != {str(i) for i in range(len(named))}:
        raise fields.refuse("id2label", named, "it must name the classes 0, 1, 2, ...")
    return tuple(str(named[str(i)]) for i in range(len(named)))


def _modules(folder: Path) -> list[tuple[str, Path]]:
    """(class name, folder) of each sentence-transformers module, in order; empty where there is no `modules.json`."""
    path = folder / "modules.json"
    if not path.is_file():
        return []
    try:
        listed = json.loads(path.read_text(encoding="utf-8"))
        return [(str(item["type"]).rsplit(".", 1)[-1], folder / str(item.get("path", ""))) for item in listed]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelError(f"{path} is no list of sentence-transformers modules ({error!r}): fetch it again.") from None


def _pooling_mode(fields: Fields) -> Pooling:
    """Both forms: `pooling_mode: "mean"`, and one flag a mode."""
    flags = [name for name, value in fields.values.items() if name.startswith("pooling_mode_") and value is True]
    named = fields.get("pooling_mode")
    modes = flags if named is None else named if isinstance(named, list) else [named]
    if modes in (["mean"], ["pooling_mode_mean_tokens"]):
        return "mean"
    if modes in (["cls"], ["pooling_mode_cls_token"]):
        return "cls"
    raise fields.refuse("pooling_mode", modes, "use a model with mean or CLS pooling")


def _read_pooling(folder: Path) -> tuple[Pooling, bool]:
    """(pooling, normalised); the mean, not normalised, where the folder says nothing, as sentence-transformers."""
    modules = _modules(folder)
    pooling: Pooling = "mean"
    for name, where in modules:
        if name not in ("Transformer", "Pooling", "Normalize"):
            raise ModelError(
                f"{folder / 'modules.json'} names a module {name}, which is not supported: use a model of "
                "Transformer, Pooling and Normalize only."
            )
        if name == "Pooling":
            pooling = _pooling_mode(Fields(where / "config.json", read_json(where / "config.json")))
    return pooling, any(name == "Normalize" for name, _ in modules)


def _longest(folder: Path, positions: int) -> int:
    """Tokens of a text: what the positions allow, or fewer where sentence-transformers' file says so."""
    path = folder / "sentence_bert_config.json"
    if not path.is_file():
        return positions
    return min(positions, Fields(path, read_json(path)).count("max_seq_length", default=positions))


def _check(fields: Fields, hidden: int, heads: int) -> None:
    if hidden % heads:
        raise fields.refuse("num_attention_heads", heads, f"it must divide the hidden size {hidden}")
    if fields.text("position_embedding_type", default="absolute") != "absolute":
        raise fields.refuse("position_embedding_type", fields.get("position_embedding_type"), "use absolute positions")
    if fields.flag("is_decoder", False):
        raise fields.refuse("is_decoder", True, "use the encoder form of this model")


def _offset(fields: Fields, family: str, pad: int) -> int:
    """RoBERTa counts positions from behind the padding id."""
    return pad + 1 if family == "roberta" else 0


def _token_types(fields: Fields, family: str) -> int:
    return 0 if family == "distilbert" else fields.count("type_vocab_size", default=2)


def _read_encoder(fields: Fields) -> EncoderConfig:
    family, folder = fields.text("model_type"), fields.path.parent
    architecture = check_architecture(fields, _ENDINGS)
    hidden, heads = fields.count("hidden_size", "dim"), fields.count("num_attention_heads", "n_heads")
    _check(fields, hidden, heads)
    pad = fields.count("pad_token_id", default=1 if family == "roberta" else 0, least=0)
    offset = _offset(fields, family, pad)
    positions = fields.count("max_position_embeddings", default=512, least=offset + 1) - offset
    pooling, normalized = _read_pooling(folder)
    return EncoderConfig(
        family=family,
        hidden_size=hidden,
        intermediate_size=fields.count("intermediate_size", "hidden_dim"),
        block_count=fields.count("num_hidden_layers", "n_layers"),
        head_count=heads,
        vocabulary_size=fields.count("vocab_size"),
        max_context=_longest(folder, positions),
        norm_epsilon=1e-12 if family == "distilbert" else fields.number("layer_norm_eps", default=1e-12),
        activation=fields.one_of("hidden_act", "activation", options=ACTIVATION_NAMES, default="gelu"),
        token_type_count=_token_types(fields, family),
        position_offset=offset,
        pad_token_id=pad,
        pooling=pooling,
        normalized=normalized,
        labels=_read_labels(fields, architecture),
        dtype=read_dtype(fields),
    )


ENCODER_READERS: dict[str, Callable[[Fields], EncoderConfig]] = {
    "bert": _read_encoder,
    "roberta": _read_encoder,
    "distilbert": _read_encoder,
}
