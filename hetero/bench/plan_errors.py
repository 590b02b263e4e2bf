"""How far predictions lie from what was measured: the figures by which a cost model is judged.

Knows numbers only. Errors are relative to the measured value; MAPE is the mean of their sizes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import mean


@dataclass(frozen=True, slots=True)
class Pair:
    """One quantity, predicted and measured, in seconds."""

    predicted_seconds: float
    measured_seconds: float

    @property
    def error(self) -> float:
        """Relative, positive where too much was predicted."""
        return self.predicted_seconds / self.measured_seconds - 1


@dataclass(frozen=True, slots=True)
class Accuracy:
    """Over all plans: MAPE of the stages' compute and of whole requests, the worst of the latter, rank correlation.

    `regret` is how much longer the plan that was predicted best takes than the best measured one.
    """

    layer_mape: float
    end_to_end_mape: float
    worst: float
    spearman: float
    regret: float


def accuracy(stages: Sequence[Pair], requests: Sequence[Pair], chosen: int) -> Accuracy:
    """The figures; `chosen` is the place in `requests` of the plan that the placer chose."""
    sizes = [abs(pair.error) for pair in requests]
    best = min(pair.measured_seconds for pair in requests)
    return Accuracy(
        mean(abs(pair.error) for pair in stages),
        mean(sizes),
        max(sizes),
        rank_correlation(requests),
        requests[chosen].measured_seconds / best - 1,
    )


def rank_correlation(pairs: Sequence[Pair]) -> float:
    """Spearman's: 1 where predictions order the plans as measurements do. 1 for a single plan."""
    if len(pairs) < 2:
        return 1.0
    from scipy.stats import spearmanr

    found = spearmanr([pair.predicted_seconds for pair in pairs], [pair.measured_seconds for pair in pairs])
    return float(found.statistic)
