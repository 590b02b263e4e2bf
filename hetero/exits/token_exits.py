"""What the exit of a running decoder may do for a request: the modes that are served, and why others are not.

Each mode that may change a token has its own certificate and its own watch (`control.py`). Knows reports and requests;
knows neither stages nor batches.
"""

from collections.abc import Mapping

from adaptive.modes import AdaptiveChoice, ExitMode
from hetero.engine.requests import Leaving
from hetero.errors import InvalidRequestError
from hetero.exits.control import ExitControl, require_choice
from hetero.exits.status import ExitStatus, token_depths
from hetero.types import SamplingParams

#: The modes in which an exit's token is taken at its word.
LOSSY = (ExitMode.RELEASE, ExitMode.SKIP)


class TokenExits:
    """The exit after `depth` of `block_count` blocks, 0: there is none; requests get `mode` unless they choose.

    `controls`: of each lossy mode that is certified here. `refusals`: why another one is not, and the way out.
    """

    def __init__(
        self,
        depth: int,
        block_count: int,
        mode: ExitMode = ExitMode.VERIFY,
        controls: Mapping[ExitMode, ExitControl] | None = None,
        refusals: Mapping[ExitMode, str] | None = None,
    ) -> None:
        self._depth, self._block_count = depth, block_count
        self._mode = mode if depth else ExitMode.OFF
        self._controls = dict(controls or {})
        self._refusals = dict(refusals or {})

    # Any thread

    def choose(self, choice: AdaptiveChoice | None, sampling: SamplingParams) -> Leaving:
        """What the exit may do for a request. Raises InvalidRequestError for a mode that it asks for and cannot have.

        Where it asks for none and the usual one does not fit it, its tokens are full depth's.
        """
        require_choice(choice)
        asked = choice.mode if choice else None
        mode = asked or self._mode
        refusal = self._refusal(mode, sampling)
        if refusal is not None:
            if asked is not None:
                raise InvalidRequestError(refusal)
            return Leaving()
        if mode not in LOSSY:
            return Leaving(mode)
        control = self._controls[mode]
        limits = control.limits(AdaptiveChoice(mode, choice.max_disagreement if choice else None))
        if limits is None:
            return Leaving()
        return Leaving(mode, limits[0], control.wants_audit())

    def _refusal(self, mode: ExitMode, sampling: SamplingParams) -> str | None:
        """Why a request cannot have `mode`; None where it can."""
        if mode is ExitMode.OFF:
            return None
        if mode is ExitMode.TERMINATE:
            return "the mode terminate is for encoders; a decoder has off, verify, release and skip"
        if not self._depth:
            return f"no exit was started for the mode {mode}; start the model with `--exits {mode}`, or ask for off"
        if sampling.private_clip:
            return "a private token goes through all blocks; ask for the mode off"
        if mode is ExitMode.VERIFY:
            return None
        if mode not in self._controls:
            return self._refusals.get(mode, f"the mode {mode} is not calibrated; run `hetero calibrate --mode {mode}`")
        if sampling.temperature > 0 or sampling.repetition_penalty != 1.0 or sampling.logprobs is not None:
            return (
                f"the mode {mode} is calibrated for greedy tokens without penalty or log-probabilities;"
                " ask for temperature 0, or for the mode verify or off"
            )
        return None

    def status(self, early: int, tokens: int) -> ExitStatus | None:
        """Of all `tokens` so far, `early` were first said by the exit; None where there is none."""
        if not self._depth:
            return None
        depths = token_depths(self._depth, self._block_count, early, tokens)
        if self._mode in self._controls:
            return self._controls[self._mode].status(depths)
        if self._mode in LOSSY:
            return ExitStatus(ExitMode.OFF, self._refusals[self._mode], depths, (self._depth,))
        reason = f"the blocks up to {self._depth} draft and the others verify, as far as it pays"
        return ExitStatus(ExitMode.VERIFY, reason, depths, (self._depth,))

    # On the engine's thread

    def audited(self, mode: ExitMode, differing: float) -> None:
        """Take the share of an audited completion's tokens for which full depth would have said another."""
        if mode in self._controls:
            self._controls[mode].audited(differing)
