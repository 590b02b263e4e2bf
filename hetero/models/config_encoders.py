"""Reads the encoders' configurations: BERT (and MiniLM, which is one), RoBERTa and DistilBERT.

Knows each family's keys and the defaults that `transformers` 5.23 gives to absent ones; what sentence-transformers
keeps beside them is read in `sentence_files.py`.
"""

from collections.abc import Callable

from hetero.models.config import EncoderConfig
from hetero.models.config_decoders import ACTIVATION_NAMES, check_architecture, read_dtype
from hetero.models.json_file import Fields
from hetero.models.sentence_files import longest_text, read_pooling

_ENDINGS = ("Model", "ForMaskedLM", "ForPreTraining", "ForSequenceClassification")


def _read_labels(fields: Fields, architecture: str) -> tuple[str, ...]:
    """The classes' names in order; empty where the model has no classification head."""
    if not architecture.endswith("ForSequenceClassification"):
        return ()
    _check_problem(fields)
    named = fields.get("id2label")
    if named is None:
        return tuple(f"LABEL_{i}" for i in range(fields.count("num_labels", default=2)))
    if not isinstance(named, dict) or set(named) != {str(i) for i in range(len(named))}:
        raise fields.refuse("id2label", named, "it must name the classes 0, 1, 2, ...")
    return tuple(str(named[str(i)]) for i in range(len(named)))


def _check_problem(fields: Fields) -> None:
    """Probabilities are a softmax over all classes, or the logistic function of a single one."""
    problem = fields.text("problem_type", default="single_label_classification")
    if problem != "single_label_classification":
        raise fields.refuse("problem_type", problem, "use a classifier of which each text has one label")


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
    pooling, normalized = read_pooling(folder)
    return EncoderConfig(
        family=family,
        hidden_size=hidden,
        intermediate_size=fields.count("intermediate_size", "hidden_dim"),
        block_count=fields.count("num_hidden_layers", "n_layers"),
        head_count=heads,
        vocabulary_size=fields.count("vocab_size"),
        max_context=longest_text(folder, positions),
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
