"""Is what a caller asks for possible at all? The one place that checks sampling values, token ids and lengths.

Knows values, a vocabulary's size and a context's length; neither tokenizers nor engines.
"""

import math
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import fields, replace
from typing import Any

from hetero.errors import InvalidRequestError, PromptTooLongError
from hetero.types import SamplingParams

MAX_STOP_STRINGS = 16
MAX_STOP_TOKEN_IDS = 1024
MAX_LOGPROBS = 20
_SEED_LIMIT = 2**63
#: Beyond these a penalty leaves the range of float32, and a row that cannot be sampled ends its whole batch.
_PENALTIES = (0.01, 100)


def _holds(value: object) -> bool:
    return isinstance(value, Collection) and not isinstance(value, str | bytes)


def is_whole(value: object) -> bool:
    """Whether the value is an integer; True and False are none here."""
    return isinstance(value, int) and not isinstance(value, bool)


def _is_real(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


#: Field, what must hold, and how the message says it.
_RULES: tuple[tuple[str, Callable[[Any], bool], str], ...] = (
    ("max_tokens", lambda v: is_whole(v) and v >= 1, "a whole number of at least 1"),
    ("temperature", lambda v: _is_real(v) and v >= 0, "a number of at least 0"),
    ("top_k", lambda v: is_whole(v) and v >= 0, "a whole number of at least 0 (0 is off)"),
    ("top_p", lambda v: _is_real(v) and 0 < v <= 1, "above 0 and at most 1"),
    ("min_p", lambda v: _is_real(v) and 0 <= v <= 1, "from 0 to 1"),
    (
        "repetition_penalty",
        lambda v: _is_real(v) and _PENALTIES[0] <= v <= _PENALTIES[1],
        f"a number from {_PENALTIES[0]} to {_PENALTIES[1]} (1 is off)",
    ),
    ("seed", lambda v: v is None or (is_whole(v) and 0 <= v < _SEED_LIMIT), "from 0 to 2^63 - 1"),
    ("logprobs", lambda v: v is None or (is_whole(v) and 0 <= v <= MAX_LOGPROBS), f"from 0 to {MAX_LOGPROBS}"),
    ("private_clip", lambda v: _is_real(v) and v >= 0, "a number of at least 0 (0 is off)"),
    ("ignore_eos", lambda v: isinstance(v, bool), "True or False"),
    ("stop", _holds, "a sequence of strings"),
    ("stop_token_ids", _holds, "a sequence of token ids"),
    ("stop_token_ids", lambda v: len(v) <= MAX_STOP_TOKEN_IDS, f"at most {MAX_STOP_TOKEN_IDS} ids"),
    ("stop", lambda v: len(v) <= MAX_STOP_STRINGS, f"at most {MAX_STOP_STRINGS} strings"),
    ("stop", lambda v: all(isinstance(text, str) and text for text in v), "strings that are not empty"),
)


def merge_options(sampling: SamplingParams | None, options: dict[str, Any]) -> SamplingParams:
    """`sampling`, or the defaults, with single `options` by name laid over it; one stop string may stand alone.

    Raises InvalidRequestError where an option does not exist, or `sampling` is something else.
    """
    if not isinstance(sampling, SamplingParams | None):
        raise InvalidRequestError(f"sampling is {_shown(sampling)} but must be a SamplingParams; give options by name")
    known = {field.name for field in fields(SamplingParams)}
    for name in options:
        if name not in known:
            raise InvalidRequestError(f"there is no sampling option {name!r}; there are {', '.join(sorted(known))}")
    given = dict(options)
    for name in ("stop", "stop_token_ids"):
        if name in given:
            given[name] = _as_tuple(given[name])
    return replace(sampling or SamplingParams(), **given)


def _as_tuple(value: Any) -> Any:
    """One value or several as a tuple; what is neither stays as it is, for `check_sampling` to name."""
    if value is None:
        return ()
    if isinstance(value, str | int):
        return (value,)
    return tuple(value) if isinstance(value, Iterable) else value


def check_seconds(name: str, value: object) -> None:
    """Raise InvalidRequestError where a time is neither None nor a number."""
    if value is not None and not _is_real(value):
        raise InvalidRequestError(f"{name} is {_shown(value)} but must be a number of seconds")


def check_sampling(sampling: SamplingParams, vocabulary_size: int) -> None:
    """Raise InvalidRequestError, naming the field, its value and what it may be, where a value is out of range."""
    for name, holds, wanted in _RULES:
        value = getattr(sampling, name)
        if not holds(value):
            raise InvalidRequestError(f"{name} is {_shown(value)} but must be {wanted}")
    check_token_ids("stop_token_ids", sampling.stop_token_ids, vocabulary_size)
    if sampling.private_clip > 0:
        check_private(sampling)


def check_private(sampling: SamplingParams) -> None:
    """Raise InvalidRequestError where a private completion asks for what would tell more than its noise allows."""
    usual = SamplingParams()
    for name in ("top_k", "top_p", "min_p", "repetition_penalty", "seed", "logprobs"):
        if getattr(sampling, name) != getattr(usual, name):
            raise InvalidRequestError(f"a private completion takes no {name}; leave it out")
    if not sampling.temperature > 0:
        raise InvalidRequestError("a private completion needs a temperature above 0; leave it to the policy")


def check_token_ids(field: str, token_ids: Sequence[int], vocabulary_size: int) -> None:
    """Raise InvalidRequestError where an id is not a whole number in [0, vocabulary_size)."""
    for token_id in token_ids:
        if not (is_whole(token_id) and 0 <= token_id < vocabulary_size):
            raise InvalidRequestError(
                f"{field} holds {_shown(token_id)} but the model's token ids are from 0 to {vocabulary_size - 1}"
            )


def check_length(prompt_tokens: int, context_tokens: int) -> int:
    """How many tokens the completion can have. Raises PromptTooLongError where the prompt leaves room for none."""
    if prompt_tokens >= context_tokens:
        raise PromptTooLongError(
            f"the prompt has {prompt_tokens} tokens but the context holds {context_tokens}, the completion included; "
            "shorten the prompt or serve with a longer context"
        )
    return context_tokens - prompt_tokens


def _shown(value: object) -> str:
    # All of a million values would be written out for the sake of the first few.
    text = repr(value[:60] if isinstance(value, str | bytes | list | tuple) else value)
    return text if len(text) <= 60 else f"{text[:57]}..."
