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


def drafting_status(exit_and_end: tuple[int, int], accepted: int, tokens: int) -> ExitStatus | None:
    """Of a decoder's `tokens`, `accepted` were drafted after the first of `exit_and_end` blocks, the others said after
    the second; None where no exit drafts."""
    exit_depth, end = exit_and_end
    if not exit_depth:
        return None
    depths = [0] * (end + 1)
    depths[exit_depth], depths[end] = accepted, max(0, tokens - accepted)
    reason = f"the blocks up to {exit_depth} draft and the others verify, as far as it pays"
    return ExitStatus(ExitMode.VERIFY, reason, tuple(depths), (exit_depth,))
