"""Reads what a configuration says of rotary positions, in its newer form (`rope_parameters`) and in its older one
(`rope_theta`, `rope_scaling`), into one flat, hashable tuple.

The rule for the two variants that depend on a text's length: a stage sees a token at a time and keeps rotated keys, so
the frequencies of a model never change while it serves. `dynamic` keeps to the plain frequencies, which is its form
up to `max_position_embeddings`; `longrope` keeps to the short factors, which is its form up to
`original_max_position_embeddings`. `longest_context` bounds the context to where these are exact.
"""

from hetero.models.json_file import Fields

RopeParameters = tuple[tuple[str, object], ...]

#: What each variant needs beside `rope_theta`, and what it may have.
_NEEDED: dict[str, tuple[str, ...]] = {
    "default": (),
    "linear": ("factor",),
    "dynamic": ("factor",),
    "yarn": ("factor", "original_max_position_embeddings"),
    "longrope": ("factor", "original_max_position_embeddings", "short_factor", "long_factor"),
    "llama3": ("factor", "original_max_position_embeddings", "low_freq_factor", "high_freq_factor"),
}
_OPTIONAL = ("attention_factor", "beta_fast", "beta_slow", "mscale", "mscale_all_dim")
_DEFAULT_THETA = 10_000.0


def read_rope(fields: Fields, max_positions: int) -> RopeParameters:
    """Sorted pairs, with `rope_type` and `rope_theta` always there. Raises ModelError for an unknown variant."""
    rope = _section(fields)
    kind = rope.one_of("rope_type", "type", options={name: name for name in _NEEDED}, default="default")
    for section in (rope, fields):
        if section.number("partial_rotary_factor", default=1.0) != 1:
            part = section.get("partial_rotary_factor")
            raise fields.refuse("partial_rotary_factor", part, "the whole head must be rotated")
    theta = fields.number("rope_theta", default=_DEFAULT_THETA)
    found: dict[str, object] = {"rope_type": kind, "rope_theta": rope.number("rope_theta", default=theta)}
    found |= _needed(fields, rope, kind, max_positions)
    if kind == "yarn":
        found |= {name: rope.number(name) for name in _OPTIONAL if rope.get(name) is not None}
        found["truncate"] = rope.flag("truncate", True)
    if kind == "longrope" and rope.get("attention_factor") is not None:
        found["attention_factor"] = rope.number("attention_factor")
    return tuple(sorted(found.items()))


def longest_context(rope: RopeParameters, max_positions: int) -> int:
    """Tokens for which the frequencies are exactly those of `transformers` (see the rule above)."""
    values = dict(rope)
    original = values.get("original_max_position_embeddings")
    if values["rope_type"] == "longrope" and isinstance(original, int):
        return min(original, max_positions)
    return max_positions


def _section(fields: Fields) -> Fields:
    """Where both are set the older one counts, as in `transformers`: people lengthen a context by adding it."""
    section = fields.get("rope_scaling") or fields.get("rope_parameters") or {}
    if not isinstance(section, dict) or any(isinstance(value, dict) for value in section.values()):
        raise fields.refuse("rope_parameters", section, "it must be one flat object for all blocks")
    return Fields(fields.path, section)


def _needed(fields: Fields, rope: Fields, kind: str, max_positions: int) -> dict[str, object]:
    found: dict[str, object] = {}
    original = fields.get("original_max_position_embeddings") or rope.get("original_max_position_embeddings")
    lengths = Fields(fields.path, {"original_max_position_embeddings": original})
    for name in _NEEDED[kind]:
        if name == "original_max_position_embeddings":
            found[name] = lengths.count(name, default=max_positions)
        elif name.endswith("_factor") and kind == "longrope":
            found[name] = _factors(rope, name)
        elif name == "factor" and kind in ("yarn", "longrope"):
            ratio = max_positions / lengths.count("original_max_position_embeddings", default=max_positions)
            found[name] = rope.number(name, default=ratio)
        else:
            found[name] = rope.number(name)
    return found


def _factors(rope: Fields, name: str) -> tuple[float, ...]:
    value = rope.get(name)
    if not isinstance(value, list) or not value or not all(isinstance(v, int | float) and v > 0 for v in value):
        raise rope.refuse(name, value, "it must be a list of numbers above 0, one for each pair of a head's components")
    return tuple(float(v) for v in value)
