"""What goes into the engine and the events that come out. Values only: no arrays, no queues."""

from collections.abc import Callable
from dataclasses import dataclass

from adaptive.modes import ExitMode
from hetero.errors import HeteroError
from hetero.types import Chunk, FinishReason, SamplingParams, Timings


@dataclass(frozen=True, slots=True)
class Leaving:
    """What an exit may do for a request's tokens: nothing (`off`), draft (`verify`), or say them, as `release` and
    `skip`, wherever it gives its likeliest token at least `threshold`. Of an `audited` request full depth says every
    token as well, and what differs is counted.
    """

    mode: ExitMode = ExitMode.OFF
    threshold: float = 0.0
    audited: bool = False

    @property
    def drafts(self) -> bool:
        """Whether several tokens may go through the blocks behind the exit at once."""
        return self.mode in (ExitMode.VERIFY, ExitMode.SKIP)


@dataclass(frozen=True, slots=True)
class GenerateRequest:
    """One completion to make. `deadline_seconds` counts from the submission; after it the request is cancelled.

    `leaving` None: an exit drafts where the settings have drafts.
    """

    request_id: str
    token_ids: tuple[int, ...]
    sampling: SamplingParams
    deadline_seconds: float | None = None
    leaving: Leaving | None = None


@dataclass(frozen=True, slots=True)
class Finished:
    """The completion is whole; nothing follows. `seed` is the one used, drawn by the engine where none was given.

    `differing`: of an audited request, the share of its tokens for which full depth would have said another.
    """

    prompt_tokens: int
    completion_tokens: int
    finish_reason: FinishReason
    timings: Timings
    seed: int
    differing: float | None = None


@dataclass(frozen=True, slots=True)
class Failed:
    """The completion ends here, unfinished; nothing follows."""

    error: HeteroError


Event = Chunk | Finished | Failed

#: Takes a request's events in order, on the engine's thread: it must not block. If it raises, the request is cancelled.
Sink = Callable[[Event], None]
