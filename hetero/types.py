"""What a caller asks for and what it gets: requests, sampling, streamed chunks. No arrays, no protobuf, no Ray."""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Literal

from placement.types import Plan


class FinishReason(StrEnum):
    """Why a completion ended: an end-of-sequence or stop id, a stop string, or the token limit."""

    EOS = "eos"
    STOP = "stop"
    LENGTH = "length"


@dataclass(frozen=True, slots=True)
class SamplingParams:
    """How tokens are chosen, with the field's usual names and defaults; temperature 0 is greedy.

    `seed` None draws a fresh one, which the completion reports. `logprobs` None: none; n: the chosen token's and the
    n most likely alternatives'. `stop_token_ids` end the completion like the model's own end-of-sequence ids, which
    `ignore_eos` switches off.

    With `private_clip` above 0 tokens are drawn privately: from logits bounded to +-`private_clip` at `temperature`, by
    exact randomness of the operating system. A policy sets it; then no truncation, penalty, seed or log-probability may
    be asked for, each of which would tell more than the noise allows.
    """

    max_tokens: int = 128
    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    seed: int | None = None
    logprobs: int | None = None
    stop: tuple[str, ...] = ()
    stop_token_ids: tuple[int, ...] = ()
    ignore_eos: bool = False
    private_clip: float = 0.0


@dataclass(frozen=True, slots=True)
class TokenLogprob:
    token_id: int
    logprob: float
    alternatives: tuple[tuple[int, float], ...] = ()


@dataclass(frozen=True, slots=True)
class Chunk:
    """A piece of a streamed completion: text that never splits a character, and the ids that made it.

    `finish_reason` is set on the last chunk alone, which may be empty of text. `depths`: after how many blocks each
    token was first said, by an exit's draft that held or by the last block; empty where no exit drafts.
    """

    text: str
    token_ids: tuple[int, ...]
    logprobs: tuple[TokenLogprob, ...] = ()
    finish_reason: FinishReason | None = None
    depths: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Timings:
    """Seconds on the engine's clock: to the first token, the median between tokens, and the tokens per second."""

    ttft_seconds: float
    itl_seconds_median: float
    tokens_per_second: float
    queue_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Completion:
    """A whole completion; `depths` as in `Chunk`."""

    text: str
    token_ids: tuple[int, ...]
    prompt_tokens: int
    completion_tokens: int
    finish_reason: FinishReason
    timings: Timings
    plan: Plan
    seed: int = 0
    logprobs: tuple[TokenLogprob, ...] = field(default=())
    depths: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class ClassScores:
    """One text's probabilities over the model's labels, in the labels' order.

    Where a policy lets only a label leave, `labels` holds that one and `probabilities` none. `depth`: the blocks that
    were run for it, fewer than the model has where it stopped at an exit; None where that is not told.
    """

    labels: tuple[str, ...]
    probabilities: tuple[float, ...]
    depth: int | None = None

    @property
    def label(self) -> str:
        """The most probable label, or the one that a private mechanism chose: it comes without probabilities."""
        if not self.probabilities:
            return self.labels[0]
        return max(zip(self.probabilities, self.labels, strict=True))[1]


@dataclass(frozen=True, slots=True)
class Budget:
    """What was spent of one account of a policy, in zCDP's rho (of an account of weights: in queries)."""

    account: str
    lifetime: str
    cap: float
    spent: float
    delta: float


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """The model that is served, as it is served: `context_tokens` bounds prompt and completion together."""

    name: str
    kind: Literal["decoder", "encoder"]
    family: str
    block_count: int
    hidden_size: int
    vocabulary_size: int
    context_tokens: int
    labels: tuple[str, ...] = ()
    server_version: str = ""
