"""How a model is to be run, as values: which there are, and which can be at all.

Knows no model, no device and no plan: what of the values does not fit those is for who knows them to say.
"""

from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, get_args

from hetero.confinement import Confinement
from hetero.errors import ConfigurationError
from hetero.exits.opening import Wish
from hetero.limits import TOKEN_WISHES
from hetero.validation import is_whole
from placement.types import Plan

_PRECISIONS = ("fp32", "bf16", "fp16")
_EXITS = get_args(get_args(Wish)[0])


#: What must hold of a field's value that is not the usual one, and how the message says it.
_RULES: dict[str, tuple[Callable[[Any], bool], str]] = {
    "plan": (lambda v: isinstance(v, str | Plan), "a plan's text or a Plan"),
    "precision": (lambda v: v in _PRECISIONS, f"one of {', '.join(_PRECISIONS)}"),
    "context_tokens": (is_whole, "a whole number of tokens"),
    "address": (lambda v: isinstance(v, str), "the HOST:PORT of a Ray cluster"),
    "max_sequences": (is_whole, "a whole number"),
    "kv_blocks": (is_whole, "a whole number"),
    "kv_memory_bytes": (is_whole, "a whole number of bytes"),
    "max_batch_tokens": (is_whole, "a whole number"),
    "max_waiting": (is_whole, "a whole number"),
    "micro_batches": (is_whole, "a whole number"),
    "threads": (lambda v: is_whole(v) and v >= 0, "a whole number of at least 0 (0: all)"),
    "cache": (lambda v: isinstance(v, Path), "a pathlib.Path"),
    "exits": (lambda v: isinstance(v, tuple) or v in _EXITS, f"one of {', '.join(_EXITS)}, or a tuple of depths"),
    "draft_depth": (is_whole, "a whole number of blocks"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class RuntimeSettings:
    """How a model is to be run; None leaves the choice to the runtime. `address` is a Ray cluster's.

    `cache` is the folder of profiles for a plan of ``auto``; None: the usual one. `confinement` is a policy's.
    `exits` are an encoder's: those that a calibration report allows, or none; `observe` looks at all and stops nowhere.
    With `verify` a decoder's blocks up to `draft_depth` draft and those after them verify; None: the first stage's.
    With `release` and `skip` the exit's tokens are taken at its word; a request may choose another mode.
    """

    plan: str | Plan | None = None
    precision: str | None = None
    context_tokens: int | None = None
    address: str | None = None
    max_sequences: int = 16
    kv_blocks: int | None = None
    kv_memory_bytes: int | None = None
    max_batch_tokens: int = 512
    max_waiting: int = 256
    micro_batches: int = 0
    threads: int = 0
    in_process: bool = False
    cache: Path | None = None
    confinement: Confinement | None = None
    exits: Wish = "auto"
    draft_depth: int | None = None

    @property
    def exits_allowed(self) -> Wish:
        """Under a policy that lets no request exit, none is there; and nothing drafts: its pace tells of the text."""
        free = self.confinement is None or (self.confinement.may_exit and self.exits not in TOKEN_WISHES)
        return self.exits if free else "off"

    def __post_init__(self) -> None:
        """Raises ConfigurationError for a value that can fit no model."""
        usual = {field.name: field.default for field in fields(self)}
        for name, (holds, wanted) in _RULES.items():
            value = getattr(self, name)
            if value != usual[name] and not holds(value):
                called = name.replace("context_tokens", "context")
                raise ConfigurationError(f"{called} is {value!r} but must be {wanted}")
        if self.draft_depth is not None and self.exits not in (*TOKEN_WISHES, "observe"):
            raise ConfigurationError(
                f"a draft depth of {self.draft_depth} needs exits that draft: say --exits {', '.join(TOKEN_WISHES)}"
            )
