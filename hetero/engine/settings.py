"""What an engine is given to work with, and what it tells of itself. Values only."""

from dataclasses import dataclass

from hetero.errors import ConfigurationError, HeteroError
from hetero.exits.status import ExitStatus


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineSettings:
    """The engine's limits.

    `block_count` KV blocks of `block_tokens` tokens, and `max_sequences` slots, as every stage of the pipeline has
    them; encoders need no blocks. `max_context` bounds prompt and completion together. `max_batch_tokens` bounds the
    tokens of one step: long prompts are cut into chunks that fit beside the decoding sequences; for encoders it bounds
    the padded tokens of one batch. `micro_batches` is how many batches may be in flight; 0: as many as stages.
    `max_waiting` requests wait at most; more are refused. `draft_lengths`: how many tokens the first stage may draft in
    a step, after `draft_depth` blocks, of which the length is chosen that pays; none: it has no exit head. A token to
    which the exit gives less than `draft_confidence` is not drafted.

    Raises ConfigurationError where a value is out of range.
    """

    block_count: int = 0
    block_tokens: int = 32
    max_sequences: int = 16
    max_context: int
    max_batch_tokens: int = 512
    micro_batches: int = 0
    max_waiting: int = 256
    draft_depth: int = 0
    draft_lengths: tuple[int, ...] = ()
    draft_confidence: float = 0.05

    def __post_init__(self) -> None:
        for name in ("block_tokens", "max_sequences", "max_context", "max_batch_tokens", "max_waiting"):
            _at_least(name, getattr(self, name), 1)
        for name in ("block_count", "micro_batches"):
            _at_least(name, getattr(self, name), 0)
        if self.max_batch_tokens < self.max_sequences:
            raise ConfigurationError(
                f"max_batch_tokens is {self.max_batch_tokens} but each of {self.max_sequences} sequences needs a token "
                "a step; raise it or lower max_sequences"
            )


def _at_least(name: str, value: int, least: int) -> None:
    if value < least:
        raise ConfigurationError(f"{name} is {value} but must be at least {least}")


@dataclass(frozen=True, slots=True)
class EngineStats:
    """The engine at one moment, and its counts since the start.

    `running` requests hold blocks or are in a batch, `waiting` ones do not; for encoders a request is one call of
    several texts. `steps` are batches submitted; `computed_tokens` all tokens that went into them, those recomputed
    after a preemption included. `drafted_tokens` were proposed by an exit, and `accepted_drafts` of them held, in so
    many `verifications` of a sequence's drafts. `stage_seconds` is how long each stage of the pipeline has computed.
    `exits` is there where the stages have exits. `failure` is what ended the engine, such as a lost stage.
    """

    running: int = 0
    waiting: int = 0
    batches_in_flight: int = 0
    free_blocks: int = 0
    total_blocks: int = 0
    steps: int = 0
    preemptions: int = 0
    finished: int = 0
    failed: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    computed_tokens: int = 0
    drafted_tokens: int = 0
    accepted_drafts: int = 0
    verifications: int = 0
    stage_seconds: tuple[float, ...] = ()
    exits: ExitStatus | None = None
    failure: HeteroError | None = None
