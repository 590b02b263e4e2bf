"""What a runtime tells of its exits: whether they are on, why not, how deep inputs went, and what the watch says."""

from dataclasses import dataclass

from adaptive.modes import ExitMode
from adaptive.monitor import Verdict


@dataclass(frozen=True, slots=True)
class ExitStatus:
    """`depths[k]` answers came from depth k since the start. `reason` says in words why the mode is what it is.

    `audited` answers were compared with full depth's, `disagreed` of them differed; exits that did not stop count as
    agreeing. `verdict` is the watch's, `threshold` what scores must reach now (infinite where nothing stops).
    """

    mode: ExitMode
    reason: str
    depths: tuple[int, ...] = ()
    exits: tuple[int, ...] = ()
    threshold: float = float("inf")
    max_disagreement: float = 0.0
    audited: int = 0
    disagreed: float = 0.0
    verdict: Verdict = Verdict.KEEP

    @property
    def mean_depth(self) -> float:
        """Blocks run for an answer, on average; the model's own depth before the first one."""
        answered = sum(self.depths)
        if not answered:
            return float(len(self.depths) - 1)
        return sum(depth * count for depth, count in enumerate(self.depths)) / answered


def token_depths(depth: int, end: int, early: int, tokens: int) -> tuple[int, ...]:
    """The histogram of a decoder's `tokens`, `early` of which were first said after `depth` blocks of `end`."""
    depths = [0] * (end + 1)
    depths[depth], depths[end] = early, max(0, tokens - early)
    return tuple(depths)
