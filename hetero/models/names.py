"""Which tensor of a checkpoint is which parameter of ours, for every family.

Knows names only. A source is a tensor's name, and for GPT-2 how its matrices differ from a linear layer's: stored
transposed, and query, key and value side by side in one.
"""

from dataclasses import dataclass

from hetero.models.config import DecoderConfig, EncoderConfig
from hetero.models.weights import Checkpoint


@dataclass(frozen=True, slots=True)
class Source:
    """A checkpoint's tensor; of its last axis the `part`-th of `parts`, transposed if `transposed`."""

    name: str
    transposed: bool = False
    part: int = 0
    parts: int = 1


def _find_prefix(checkpoint: Checkpoint, prefixes: tuple[str, ...], probe: str) -> str:
    """Checkpoints of a whole model have a prefix that those of its bare body lack; the first that fits."""
    return next((prefix for prefix in prefixes if checkpoint.has(prefix + probe)), prefixes[0])


def _linear(ours: str, theirs: str, bias: bool) -> dict[str, Source]:
    found = {f"{ours}.weight": Source(f"{theirs}.weight")}
    return found | ({f"{ours}.bias": Source(f"{theirs}.bias")} if bias else {})


def body_prefix(checkpoint: Checkpoint, config: DecoderConfig | EncoderConfig) -> str:
    if config.family == "gpt2":
        return _find_prefix(checkpoint, ("transformer.", ""), "wte.weight")
    if isinstance(config, DecoderConfig):
        return _find_prefix(checkpoint, ("model.", ""), "embed_tokens.weight")
    return _find_prefix(checkpoint, (f"{config.family}.", ""), "embeddings.word_embeddings.weight")


def _rotary_block(config: DecoderConfig, at: str) -> dict[str, Source]:
    found: dict[str, Source] = {}
    for name in ("q", "k", "v"):
        found |= _linear(f"attention.{name}", f"{at}self_attn.{name}_proj", config.qkv_bias)
    found |= _linear("attention.o", f"{at}self_attn.o_proj", config.output_bias)
    for name in ("gate", "up", "down"):
        found |= _linear(f"mlp.{name}", f"{at}mlp.{name}_proj", config.mlp_bias)
    found |= _linear("attention_norm", f"{at}input_layernorm", False)
    found |= _linear("mlp_norm", f"{at}post_attention_layernorm", False)
    if config.qk_norm:
        found |= _linear("attention.q_norm", f"{at}self_attn.q_norm", False)
        found |= _linear("attention.k_norm", f"{at}self_attn.k_norm", False)
    return found


def _gpt2_linear(ours: str, theirs: str, part: int = 0, parts: int = 1) -> dict[str, Source]:
    return {
        f"{ours}.weight": Source(f"{theirs}.weight", True, part, parts),
        f"{ours}.bias": Source(f"{theirs}.bias", False, part, parts),
    }


def _gpt2_block(at: str) -> dict[str, Source]:
    found: dict[str, Source] = {}
    for part, name in enumerate(("q", "k", "v")):
        found |= _gpt2_linear(f"attention.{name}", f"{at}attn.c_attn", part, 3)
    found |= _gpt2_linear("attention.o", f"{at}attn.c_proj")
    found |= _gpt2_linear("mlp.up", f"{at}mlp.c_fc") | _gpt2_linear("mlp.down", f"{at}mlp.c_proj")
    return found | _linear("attention_norm", f"{at}ln_1", True) | _linear("mlp_norm", f"{at}ln_2", True)


def decoder_block(checkpoint: Checkpoint, config: DecoderConfig, index: int) -> dict[str, Source]:
    """Parameters of `decoder.DecoderBlock` by name."""
    prefix = body_prefix(checkpoint, config)
    if config.family == "gpt2":
        return _gpt2_block(f"{prefix}h.{index}.")
    return _rotary_block(config, f"{prefix}layers.{index}.")


def decoder_head(checkpoint: Checkpoint, config: DecoderConfig) -> dict[str, Source]:
    """Parameters of `decoder.DecoderHead`; a tied head is the embedding, unless the checkpoint has one of its own.

    `transformers` unties a head that is stored with other values than the embedding's, whatever config.json says.
    """
    prefix = body_prefix(checkpoint, config)
    norm = "ln_f" if config.family == "gpt2" else "norm"
    tied = config.tied_head and not checkpoint.has("lm_head.weight")
    head = decoder_embedding(checkpoint, config)["tokens"].name if tied else "lm_head.weight"
    return _linear("norm", prefix + norm, config.norm == "layer") | {"head.weight": Source(head)}


def decoder_embedding(checkpoint: Checkpoint, config: DecoderConfig) -> dict[str, Source]:
    """`tokens`, and `positions` where they are learned."""
    prefix = body_prefix(checkpoint, config)
    if config.family == "gpt2":
        return {"tokens": Source(f"{prefix}wte.weight"), "positions": Source(f"{prefix}wpe.weight")}
    return {"tokens": Source(f"{prefix}embed_tokens.weight")}


def _norm(checkpoint: Checkpoint, ours: str, theirs: str) -> dict[str, Source]:
    """Older BERT checkpoints call a norm's weight and bias gamma and beta."""
    old = checkpoint.has(f"{theirs}.gamma")
    weight, bias = ("gamma", "beta") if old else ("weight", "bias")
    return {f"{ours}.weight": Source(f"{theirs}.{weight}"), f"{ours}.bias": Source(f"{theirs}.{bias}")}


_BERT = {"q": "attention.self.query", "k": "attention.self.key", "v": "attention.self.value",
         "o": "attention.output.dense", "up": "intermediate.dense", "down": "output.dense"}  # fmt: skip
_DISTILBERT = {"q": "attention.q_lin", "k": "attention.k_lin", "v": "attention.v_lin",
               "o": "attention.out_lin", "up": "ffn.lin1", "down": "ffn.lin2"}  # fmt: skip


def encoder_block(checkpoint: Checkpoint, config: EncoderConfig, index: int) -> dict[str, Source]:
    """Parameters of `encoder.EncoderBlock` by name."""
    prefix, distil = body_prefix(checkpoint, config), config.family == "distilbert"
    at = f"{prefix}transformer.layer.{index}." if distil else f"{prefix}encoder.layer.{index}."
    found: dict[str, Source] = {}
    for ours, theirs in (_DISTILBERT if distil else _BERT).items():
        found |= _linear(ours, at + theirs, True)
    found |= _norm(checkpoint, "attention_norm", at + ("sa_layer_norm" if distil else "attention.output.LayerNorm"))
    return found | _norm(checkpoint, "mlp_norm", at + ("output_layer_norm" if distil else "output.LayerNorm"))


def encoder_embedding(checkpoint: Checkpoint, config: EncoderConfig) -> dict[str, Source]:
    """`tokens`, `positions`, `norm.weight`, `norm.bias`, and `types` where the family has token types."""
    at = f"{body_prefix(checkpoint, config)}embeddings."
    names = ["word", "position", "token_type"][: 3 if config.token_type_count else 2]
    ours = {"word": "tokens", "position": "positions", "token_type": "types"}
    found = {ours[name]: Source(f"{at}{name}_embeddings.weight") for name in names}
    return found | _norm(checkpoint, "norm", f"{at}LayerNorm")


def classification_head(checkpoint: Checkpoint, config: EncoderConfig) -> dict[str, Source]:
    """`dense` and `out` linear layers over the first token's hidden state."""
    dense, out = {
        "bert": (f"{body_prefix(checkpoint, config)}pooler.dense", "classifier"),
        "roberta": ("classifier.dense", "classifier.out_proj"),
        "distilbert": ("pre_classifier", "classifier"),
    }[config.family]
    return _linear("dense", dense, True) | _linear("out", out, True)
