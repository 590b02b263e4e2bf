"""Who may stop where, while a model runs: limits for each request, the histogram of depths, and the watch.

Knows a calibration report and answers as they come; knows neither stages nor batches. Limits are asked for by any
thread, all else is the engine's thread's.
"""

import logging
import random
from collections.abc import Sequence

from adaptive.errors import AdaptiveError
from adaptive.modes import AdaptiveChoice, ExitMode
from adaptive.monitor import RiskMonitor, Verdict
from adaptive.policy import NEVER
from adaptive.report import CalibrationReport
from hetero.errors import InvalidRequestError
from hetero.exits.status import ExitStatus

logger = logging.getLogger(__name__)

#: The share of answers that is compared with full depth's.
AUDIT_SHARE = 0.02

#: For each exit of the model the score at which a row stops.
Limits = tuple[float, ...]


class ExitControl:
    """The exits of one running model; without a `report` every input goes through all blocks, for the `reason` given.

    `observable`: the stages have so many exits, which can be looked at; 0: they have none.
    """

    def __init__(
        self,
        block_count: int,
        report: CalibrationReport | None,
        reason: str,
        observable: int = 0,
        audit_share: float = AUDIT_SHARE,
        seed: int | None = None,
        mode: ExitMode = ExitMode.TERMINATE,
    ) -> None:
        self._report, self._reason, self._observable, self._mode = report, reason, observable, mode
        self._counts = [0] * (block_count + 1)
        self._audit_share, self._random = audit_share, random.Random(seed)
        self._monitor = RiskMonitor(report.epsilon) if report else None
        self._tightened = 0
        self._stopped = False

    @property
    def stops_rows(self) -> bool:
        """Whether there are thresholds at which rows may stop."""
        return self._report is not None and bool(self._report.exits)

    # Any thread

    def limits(self, choice: AdaptiveChoice | None = None) -> Limits | None:
        """The limits of a request's rows; None: full depth.

        Raises InvalidRequestError for a mode that an encoder has not.
        """
        require_choice(choice)
        choice = choice or AdaptiveChoice()
        if choice.mode not in (None, ExitMode.OFF, self._mode):
            raise InvalidRequestError(f"the mode {choice.mode} is for decoders; an encoder has off and terminate")
        if choice.mode is ExitMode.OFF or self._report is None or self._stopped:
            return None
        limits = self._report.limits(self._tightened, choice.max_disagreement)
        return None if min(limits) == NEVER else limits

    def observing(self) -> Limits:
        """Limits at which every exit is looked at and nothing stops. Raises InvalidRequestError where there is none."""
        if not self._observable:
            raise InvalidRequestError("the model runs without exits; start it with them to observe them")
        return (NEVER,) * self._observable

    def status(self, depths: tuple[int, ...] | None = None) -> ExitStatus:
        """`depths`: the histogram, where another than this one counts the answers."""
        counts = tuple(self._counts) if depths is None else depths
        report, watch = self._report, self._monitor.state if self._monitor else None
        if report is None or watch is None:
            return ExitStatus(ExitMode.OFF, self._reason, counts)
        on = not self._stopped
        return ExitStatus(
            self._mode if on else ExitMode.OFF,
            self._reason,
            counts,
            report.exits,
            max(limit for limit in report.limits(self._tightened) if limit < NEVER)
            if on and self._lets_go()
            else NEVER,
            report.epsilon,
            watch.audited,
            watch.disagreed,
            watch.verdict,
        )

    def _lets_go(self) -> bool:
        return self._report is not None and min(self._report.limits(self._tightened)) < NEVER

    # On the engine's thread

    def answered(self, depths: Sequence[int]) -> None:
        """Count answers."""
        for depth in depths:
            self._counts[depth] += 1

    def wants_audit(self) -> bool:
        """Whether this answer, of a row that might have stopped, is one of those that are compared."""
        return self._monitor is not None and not self._stopped and self._random.random() < self._audit_share

    def audited(self, differs: float) -> None:
        """Take one comparison, a loss of 0 to 1; tightens or stops the exits where the promise looks broken."""
        if self._monitor is None or self._stopped:
            return
        before = self._monitor.state.verdict
        verdict = self._monitor.observe(float(differs))
        if verdict is before:
            return
        watch = self._monitor.state
        seen = f"{watch.disagreed:g} of {watch.audited} audited answers differ from full depth's"
        if verdict is Verdict.TIGHTEN:
            self._tightened += 1
            self._reason = f"tightened: {seen}"
        else:
            self._stopped = True
            self._reason = f"stopped: {seen}; calibrate again on texts like those that come now"
        logger.warning("exits are %s", self._reason)


def require_choice(choice: object) -> None:
    """Raise InvalidRequestError where what a request says of its depth is neither None nor an AdaptiveChoice."""
    if not isinstance(choice, AdaptiveChoice | None):
        raise InvalidRequestError(f"adaptive is {choice!r} but must be an adaptive.modes.AdaptiveChoice, or left out")


def choice_of(
    mode: str | None, max_disagreement: float | None, usual: ExitMode | None = ExitMode.TERMINATE
) -> AdaptiveChoice | None:
    """A request's choice from its words; None where it says nothing. `usual`: the mode where it names none.

    Raises InvalidRequestError.
    """
    if mode is None and max_disagreement is None:
        return None
    try:
        return AdaptiveChoice(ExitMode(mode) if mode else usual, max_disagreement)
    except ValueError:
        known = ", ".join(ExitMode)
        raise InvalidRequestError(f"there is no mode {mode!r} of dynamic depth; there are {known}") from None
    except AdaptiveError as error:
        raise InvalidRequestError(str(error)) from None
