"""What goes into the engine and the events that come out. Values only: no arrays, no queues."""

from collections.abc import Callable
from dataclasses import dataclass

from hetero.errors import HeteroError
from hetero.types import Chunk, FinishReason, SamplingParams, Timings


@dataclass(frozen=True, slots=True)
class GenerateRequest:
    """One completion to make. `deadline_seconds` counts from the submission; after it the request is cancelled."""

    request_id: str
    token_ids: tuple[int, ...]
    sampling: SamplingParams
    deadline_seconds: float | None = None


@dataclass(frozen=True, slots=True)
class Finished:
    """The completion is whole; nothing follows. `seed` is the one used, drawn by the engine where none was given."""

    prompt_tokens: int
    completion_tokens: int
    finish_reason: FinishReason
    timings: Timings
    seed: int


@dataclass(frozen=True, slots=True)
class Failed:
    """The completion ends here, unfinished; nothing follows."""

    error: HeteroError


Event = Chunk | Finished | Failed

#: Takes a request's events in order, on the engine's thread: it must not block. If it raises, the request is cancelled.
Sink = Callable[[Event], None]
