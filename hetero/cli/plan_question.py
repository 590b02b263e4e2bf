"""The flags of `hetero plan`, as they were written. Knows no meaning of them."""

from dataclasses import dataclass
from pathlib import Path

from hetero.config import Settings


@dataclass(frozen=True, slots=True)
class Question:
    """The flags of `hetero plan`; `measure_seconds` is None where nothing is to be measured first.

    `exit_epsilon`: exits are chosen with the cuts, for so much disagreement; None: they are not.
    """

    model: str
    settings: Settings
    objective: str = "latency"
    prompt_tokens: int | None = None
    output_tokens: int | None = None
    concurrency: int = 1
    pins: tuple[str, ...] = ()
    excluded: tuple[str, ...] = ()
    split_cpu: bool = False
    measure_seconds: float | None = None
    profile_file: Path | None = None
    bounds: tuple[str, ...] = ()
    power: tuple[str, ...] = ()
    survival: str | None = None
    pareto: str | None = None
    exit_epsilon: float | None = None

    @property
    def is_plain(self) -> bool:
        """Whether nothing was asked that the simple rule does not know."""
        asked = (self.pins, self.excluded, self.split_cpu, self.bounds, self.power, self.survival, self.pareto)
        return self.objective == "latency" and not any(asked) and self.exit_epsilon is None
