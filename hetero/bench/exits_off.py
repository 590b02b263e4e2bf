"""What exits cost requests that ask none: a runtime that has them against one that never heard of them.

Only such requests run here, in turn: beside passes with exits, as in `exits.py`, noise hides what is this small.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import mean, stdev

from adaptive.modes import AdaptiveChoice, ExitMode
from hetero.bench.exits import run_texts
from hetero.runtime import Runtime


@dataclass(frozen=True, slots=True)
class OffRates:
    """Seconds without exits by seconds with exits switched off, for each round of two passes each; below 1: a cost.

    `standard_error` is of `ratio`, their mean; 0.0 where there was one round.
    """

    ratios: tuple[float, ...]
    ratio: float
    standard_error: float


def measure_off(
    plain: Runtime, exiting: Runtime, texts: Sequence[str], batch: int, rounds: int, tell: Callable[[str], None]
) -> OffRates:
    """Run all texts through both runtimes, each inside the other by turns, `rounds` times after a warm-up."""
    off = AdaptiveChoice(ExitMode.OFF)
    ratios: list[float] = []
    for number in range(rounds + 1):
        tell(f"switched off, round {number} of {rounds}")
        inner, outer = (plain, exiting) if number % 2 else (exiting, plain)
        seconds: dict[Runtime, float] = dict.fromkeys((plain, exiting), 0.0)
        for runtime in (outer, inner, inner, outer):
            seconds[runtime] += run_texts(runtime, off, texts, batch).seconds
        ratios.append(seconds[plain] / seconds[exiting])
    return summary(ratios[1:])


def summary(ratios: Sequence[float]) -> OffRates:
    """The mean of the rounds and its standard error."""
    error = stdev(ratios) / len(ratios) ** 0.5 if len(ratios) > 1 else 0.0
    return OffRates(tuple(ratios), mean(ratios), error)
