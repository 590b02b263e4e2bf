"""What a runtime's engine may hold and do at once, from the settings, the model and the plan. Starts nothing."""

from pathlib import Path

from adaptive.modes import ExitMode
from hetero.backends.base import KvSpec
from hetero.capacity import KvWishes, choose_kv
from hetero.engine.settings import EngineSettings
from hetero.errors import ConfigurationError
from hetero.exits.drafting_heads import trained_depths
from hetero.exits.opening import Wish
from hetero.exits.token_exits import LOSSY
from hetero.exits.token_opening import certified_depth
from hetero.models.catalogue import describe_layers
from hetero.models.config import DecoderConfig, ModelConfig
from placement.types import Plan

DEFAULT_CONTEXT_TOKENS = 4096
#: How many tokens may be drafted in a step: of these the length is chosen that pays, and 0 is full depth alone.
DRAFT_LENGTHS = (0, 2, 4, 7)
#: With these a decoder's first stage has an exit.
TOKEN_WISHES = ("verify", "release", "skip")
_STORED_BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}


def choose_context(wanted: int | None, model_tokens: int) -> int:
    """Tokens of prompt and completion together. Raises ConfigurationError where the model does not reach so far."""
    if wanted is None:
        return min(model_tokens, DEFAULT_CONTEXT_TOKENS)
    if not 1 <= wanted <= model_tokens:
        raise ConfigurationError(f"the context is {wanted} tokens but must be from 1 to the model's {model_tokens}")
    return wanted


def choose_cache(folder: Path, config: ModelConfig, plan: Plan, wishes: KvWishes) -> KvSpec | None:
    """The KV cache of a decoder on `plan`; None for an encoder."""
    if not isinstance(config, DecoderConfig):
        return None
    return choose_kv(wishes, plan, describe_layers(folder, config), _STORED_BYTES.get(config.dtype, 4))


def choose_draft_depth(folder: Path, config: ModelConfig, plan: Plan, wish: Wish, asked: int | None) -> int:
    """After how many blocks an exit drafts; 0 where none does. Not `asked` for: after as many as an exit was trained
    for, else where the first stage ends.

    Raises ConfigurationError where drafts were wished for and cannot be, ModelError where exits are another model's.
    """
    decodes = isinstance(config, DecoderConfig)
    if wish not in TOKEN_WISHES and not (wish == "observe" and decodes):
        return 0
    if not isinstance(config, DecoderConfig):
        raise ConfigurationError("exits draft and are verified for decoders; an encoder's stop: use `auto`")
    if wish in LOSSY:
        asked = certified_depth(folder, ExitMode(wish), asked)
    first, end = plan.stages[0].last, config.block_count
    trained = [each for each in trained_depths(folder, config) if each <= first]
    depth = asked or max(trained, default=first)
    if depth == end:
        raise ConfigurationError(
            "early blocks draft and those after them verify, but the plan has one stage; train an exit"
            f" (`hetero train-exits`) or say after how many blocks it is, for example --draft-depth {end // 4 or 1}"
        )
    if not 0 < depth <= first:
        raise ConfigurationError(f"the draft depth is {depth} but must be from 1 to {first}, inside the first stage")
    return depth


def engine_settings(
    kv: KvSpec | None, context_tokens: int, plan: Plan, *, draft_depth: int, micro_batches: int, **limits: int
) -> EngineSettings:
    """`limits` are those of EngineSettings that the caller chose; `micro_batches` 0 takes as many as are useful."""
    return EngineSettings(
        block_count=kv.block_count if kv else 0,
        block_tokens=kv.block_tokens if kv else 32,
        max_context=context_tokens,
        micro_batches=micro_batches or useful_micro_batches(plan),
        draft_depth=draft_depth,
        draft_lengths=DRAFT_LENGTHS if draft_depth else (),
        **limits,
    )


def useful_micro_batches(plan: Plan) -> int:
    """As many batches in flight as can be computed at the same time: one a device.

    Stages of one device share its cores and its memory's speed: between two of them nothing overlaps, and two
    half-sized batches would read every weight twice.
    """
    return len({stage.device.name for stage in plan.stages})
