"""The ways in which depth may follow the input, each with what it promises, and a request's choice among them."""

from dataclasses import dataclass
from enum import StrEnum

from adaptive.errors import AdaptiveError


class ExitMode(StrEnum):
    """What becomes of an input that an exit answers."""

    OFF = "off"
    TERMINATE = "terminate"
    VERIFY = "verify"
    RELEASE = "release"
    SKIP = "skip"

    @property
    def guarantee(self) -> str:
        """The mode's promise, in a sentence."""
        return _GUARANTEES[self]

    @property
    def needs_report(self) -> bool:
        """Whether answers may differ from full depth's, so that only a calibration report allows the mode."""
        return self in (ExitMode.TERMINATE, ExitMode.RELEASE, ExitMode.SKIP)


_GUARANTEES = {
    ExitMode.OFF: "Every input goes through all layers: the answer is the full model's.",
    ExitMode.TERMINATE: (
        "An input leaves at its exit. With confidence 1 - delta over the calibration set, at most a share epsilon of"
        " inputs like those calibrated on gets another answer than at full depth."
    ),
    ExitMode.VERIFY: (
        "An exit only drafts; deeper layers verify each draft. Greedy output is full depth's token for token, sampled"
        " output is of the same distribution."
    ),
    ExitMode.RELEASE: (
        "The exit's answer is given at once and the deeper layers still run for it. With confidence 1 - delta at most a"
        " share epsilon of a sequence's answers differs, on average, from full depth's given the same ones before."
    ),
    ExitMode.SKIP: (
        "Deeper layers are not asked, and their missing state is filled by a stated rule. With confidence 1 - delta the"
        " loss of whole sequences, calibrated under the same rule, is at most epsilon on average."
    ),
}


@dataclass(frozen=True, slots=True)
class AdaptiveChoice:
    """What one request asks for: a mode, and the largest share of answers that may differ from full depth's.

    `mode` None takes the one that is served, `max_disagreement` None what the report certifies. Raises AdaptiveError
    where that is not between 0 and 1.
    """

    mode: ExitMode | None = None
    max_disagreement: float | None = None

    def __post_init__(self) -> None:
        if self.max_disagreement is not None and not 0 <= self.max_disagreement <= 1:
            raise AdaptiveError(f"max_disagreement is {self.max_disagreement} but must be from 0 to 1")
