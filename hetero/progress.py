"""What a runtime says while it starts, so that a terminal can draw it. Knows nothing of how it is drawn."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

Phase = Literal["model", "cluster", "devices", "plan", "stage", "engine", "ready"]


@dataclass(frozen=True, slots=True)
class Progress:
    """One step of the start. `stage` is the stage's index and set, like `stage_count`, in phase "stage" alone."""

    phase: Phase
    text: str
    stage: int | None = None
    stage_count: int = 0


ProgressCallback = Callable[[Progress], None]


def ignore(progress: Progress) -> None:
    """The callback of those who do not ask."""
