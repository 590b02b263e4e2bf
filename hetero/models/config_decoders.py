"""Reads the decoders' configurations: Llama (and SmolLM, which is one), Mistral, Qwen2, Qwen3 and GPT-2.

Knows each family's keys and the defaults that `transformers` 5.23 gives to absent ones.
"""

from collections.abc import Callable

from hetero.models.config import DecoderConfig
from hetero.models.json_file import Fields, read_json
from hetero.models.rope_config import RopeParameters, longest_context, read_rope

#: Activations by their names in configurations, and the name under which `decoder.ACTIVATIONS` has them.
ACTIVATION_NAMES = {
    "silu": "silu",
    "swish": "silu",
    "gelu": "gelu",
    "gelu_new": "gelu_new",
    "gelu_pytorch_tanh": "gelu_pytorch_tanh",
    "relu": "relu",
}
#: Types of weights that a checkpoint may hold, and their short names.
DTYPE_NAMES = {"float32": "fp32", "float16": "fp16", "bfloat16": "bf16"}


def read_dtype(fields: Fields) -> str:
    """The checkpoint's precision as it says: fp32, fp16 or bf16; fp32 where it says nothing."""
    return fields.one_of("dtype", "torch_dtype", options=DTYPE_NAMES, default="float32")


def check_architecture(fields: Fields, endings: tuple[str, ...]) -> str:
    """The first of `architectures`, or ''. Raises ModelError where it ends in none of `endings`."""
    named = fields.get("architectures")
    first = named[0] if isinstance(named, list) and named else ""
    if not isinstance(first, str) or (first and not first.endswith(endings)) or first.endswith("RewardModel"):
        raise fields.refuse("architectures", named, "the class must end in " + " or ".join(endings))
    return first


def _check_causal(fields: Fields) -> None:
    """Embedding models made of a decoder look both ways; to generate with one would give nonsense."""
    if not fields.flag("is_causal", True):
        raise fields.refuse("is_causal", False, "use a decoder whose tokens see only those before them")


def _token_ids(fields: Fields, name: str) -> tuple[int, ...]:
    """Ids of `generation_config.json` before those of `config.json`, as `transformers` generates."""
    path = fields.path.with_name("generation_config.json")
    own = read_json(path).get(name) if path.is_file() else None
    value = own if own is not None else fields.get(name)
    listed = value if isinstance(value, list) else [] if value is None else [value]
    if not all(isinstance(item, int) and item >= 0 for item in listed):
        raise fields.refuse(name, value, "it must be a token id or a list of token ids")
    return tuple(listed)


def _first(ids: tuple[int, ...]) -> int | None:
    return ids[0] if ids else None


def _windows_by_layer_type(fields: Fields, block_count: int) -> tuple[int, ...]:
    """Qwen: `layer_types` where given, else the blocks from `max_window_layers` on where windows are used."""
    if not fields.flag("use_sliding_window", False) or fields.is_null("sliding_window"):
        return (0,) * block_count
    window = fields.count("sliding_window", default=4096)
    types = fields.get("layer_types")
    if types is None:
        full = fields.count("max_window_layers", default=28, least=0)
        types = ["full_attention" if i < full else "sliding_attention" for i in range(block_count)]
    if not isinstance(types, list) or len(types) != block_count or set(types) - {"full_attention", "sliding_attention"}:
        raise fields.refuse("layer_types", types, "it must name full_attention or sliding_attention for every block")
    return tuple(window if kind == "sliding_attention" else 0 for kind in types)


def _windows_everywhere(fields: Fields, block_count: int) -> tuple[int, ...]:
    """Mistral: one window for every block, 4096 where the key is absent, none where it is null."""
    if fields.is_null("sliding_window"):
        return (0,) * block_count
    return (fields.count("sliding_window", default=4096),) * block_count


def _no_windows(fields: Fields, block_count: int) -> tuple[int, ...]:
    return (0,) * block_count


_WINDOWS: dict[str, Callable[[Fields, int], tuple[int, ...]]] = {
    "llama": _no_windows,
    "mistral": _windows_everywhere,
    "qwen2": _windows_by_layer_type,
    "qwen3": _windows_by_layer_type,
}
_CONTEXTS = {"llama": 2048, "mistral": 131072, "qwen2": 32768, "qwen3": 32768}


def _head_size(fields: Fields, family: str, hidden_size: int, head_count: int) -> int:
    explicit = fields.get("head_dim")
    if explicit is None and family != "qwen3" and hidden_size % head_count:
        raise fields.refuse("num_attention_heads", head_count, f"it must divide hidden_size {hidden_size}")
    size = fields.count("head_dim", default=128 if family == "qwen3" else hidden_size // head_count)
    if size % 2:
        raise fields.refuse("head_dim", size, "rotary positions need an even number")
    return size


def _kv_heads(fields: Fields, family: str, head_count: int) -> int:
    told = not fields.is_null("num_key_value_heads")
    default = {"mistral": 8, "qwen2": 32, "qwen3": 32}.get(family, head_count) if told else head_count
    kv_heads = fields.count("num_key_value_heads", default=default)
    if head_count % kv_heads:
        raise fields.refuse("num_key_value_heads", kv_heads, f"it must divide num_attention_heads {head_count}")
    return kv_heads


def _read_rotary(fields: Fields) -> DecoderConfig:
    check_architecture(fields, ("ForCausalLM", "Model"))
    _check_causal(fields)
    family = fields.text("model_type")
    hidden, heads = fields.count("hidden_size"), fields.count("num_attention_heads")
    blocks = fields.count("num_hidden_layers")
    positions = fields.count("max_position_embeddings", default=_CONTEXTS[family])
    attention_bias = family in ("llama", "qwen3") and fields.flag("attention_bias", False)
    rope: RopeParameters = read_rope(fields, positions)
    return DecoderConfig(
        family=family,
        hidden_size=hidden,
        intermediate_size=fields.count("intermediate_size"),
        block_count=blocks,
        head_count=heads,
        kv_head_count=_kv_heads(fields, family, heads),
        head_size=_head_size(fields, family, hidden, heads),
        vocabulary_size=fields.count("vocab_size"),
        max_context=longest_context(rope, positions),
        norm="rms",
        norm_epsilon=fields.number("rms_norm_eps", default=1e-6),
        activation=fields.one_of("hidden_act", options=ACTIVATION_NAMES, default="silu"),
        gated_mlp=True,
        qkv_bias=family == "qwen2" or attention_bias,
        output_bias=attention_bias,
        mlp_bias=family == "llama" and fields.flag("mlp_bias", False),
        qk_norm=family == "qwen3",
        positions="rotary",
        rope_parameters=rope,
        sliding_windows=_WINDOWS[family](fields, blocks),
        tied_head=fields.flag("tie_word_embeddings", False),
        dtype=read_dtype(fields),
        bos_token_id=_first(_token_ids(fields, "bos_token_id")),
        eos_token_ids=_token_ids(fields, "eos_token_id"),
    )


def _check_gpt2(fields: Fields, hidden: int, heads: int) -> None:
    if hidden % heads:
        raise fields.refuse("n_head", heads, f"it must divide n_embd {hidden}")
    for name, usual in (("scale_attn_weights", True), ("scale_attn_by_inverse_layer_idx", False)):
        if fields.flag(name, usual) is not usual:
            raise fields.refuse(name, not usual, "use a GPT-2 with the usual attention scale")
    if fields.flag("add_cross_attention", False):
        raise fields.refuse("add_cross_attention", True, "use a decoder without an encoder")


def _read_gpt2(fields: Fields) -> DecoderConfig:
    check_architecture(fields, ("LMHeadModel", "GPT2Model"))
    _check_causal(fields)
    hidden, heads = fields.count("n_embd", "hidden_size"), fields.count("n_head", "num_attention_heads")
    blocks = fields.count("n_layer", "num_hidden_layers")
    _check_gpt2(fields, hidden, heads)
    return DecoderConfig(
        family="gpt2",
        hidden_size=hidden,
        intermediate_size=fields.count("n_inner", default=4 * hidden),
        block_count=blocks,
        head_count=heads,
        kv_head_count=heads,
        head_size=hidden // heads,
        vocabulary_size=fields.count("vocab_size"),
        max_context=fields.count("n_positions", "max_position_embeddings", "n_ctx", default=1024),
        norm="layer",
        norm_epsilon=fields.number("layer_norm_epsilon", default=1e-5),
        activation=fields.one_of("activation_function", options=ACTIVATION_NAMES, default="gelu_new"),
        gated_mlp=False,
        qkv_bias=True,
        output_bias=True,
        mlp_bias=True,
        qk_norm=False,
        positions="learned",
        rope_parameters=(),
        sliding_windows=(0,) * blocks,
        tied_head=fields.flag("tie_word_embeddings", True),
        dtype=read_dtype(fields),
        bos_token_id=_first(_token_ids(fields, "bos_token_id")),
        eos_token_ids=_token_ids(fields, "eos_token_id"),
    )


DECODER_READERS: dict[str, Callable[[Fields], DecoderConfig]] = {
    "llama": _read_rotary,
    "mistral": _read_rotary,
    "qwen2": _read_rotary,
    "qwen3": _read_rotary,
    "gpt2": _read_gpt2,
}
