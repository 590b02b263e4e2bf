"""The warpers of one row of logits: repetition penalty, temperature, top-k, top-p, min-p, in that order.

Order and meaning are those of Hugging Face transformers (`generation/logits_process.py`), which the tests hold them
to. Instead of masking a whole vocabulary, each narrows a set of candidates: ids in rising order and their scores.
Knows one row; draws nothing (`sampler.py`).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hetero.batch import FloatArray, LongArray, RowSampling

#: How many of the most likely candidates top-p sorts first: nearly always they hold the mass that is asked for.
SORTED_FIRST = 512


@dataclass(frozen=True, slots=True)
class Candidates:
    """Tokens that may still be drawn. `ids`: int64 [C], rising; `scores`: float32 [C], the highest is 0."""

    ids: LongArray
    scores: FloatArray

    def keep(self, chosen: NDArray[np.intp]) -> "Candidates":
        return Candidates(self.ids[chosen], self.scores[chosen])

    def weights(self) -> FloatArray:
        """Probabilities up to a common factor, float32 [C]; the highest is 1."""
        weights: FloatArray = np.exp(self.scores)
        return weights


def penalize(logits: FloatArray, seen: LongArray | None, penalty: float) -> FloatArray:
    """Make tokens that were `seen` less likely: positive logits are divided by the penalty, negative multiplied.

    logits: float32 [V], left as it is; a penalised copy is returned where there is anything to do.
    """
    if seen is None or penalty == 1.0:
        return logits
    known = seen[seen < len(logits)]
    values = logits[known]
    penalized = logits.copy()
    penalized[known] = np.where(values < 0, values * np.float32(penalty), values / np.float32(penalty))
    return penalized


def warm(logits: FloatArray, temperature: float) -> FloatArray:
    """Divide by the temperature, after moving the highest logit to 0 so that no temperature can overflow."""
    with np.errstate(over="ignore"):
        scores: FloatArray = (logits - logits.max()) / np.float32(max(temperature, 1e-30))
    return scores


def keep_top_k(candidates: Candidates, k: int) -> Candidates:
    """The k highest scores; what ties with the k-th stays, as in the reference."""
    count = len(candidates.ids)
    if k <= 0 or k >= count:
        return candidates
    threshold = np.partition(candidates.scores, count - k)[count - k]
    return candidates.keep(np.flatnonzero(candidates.scores >= threshold))


def keep_top_p(candidates: Candidates, p: float) -> Candidates:
    """The fewest most likely tokens whose mass reaches p, at least one; among equals the lower ids."""
    if p >= 1.0:
        return candidates
    weights = candidates.weights()
    count, threshold = _nucleus(weights, p)
    above = np.flatnonzero(weights > threshold)
    ties = np.flatnonzero(weights == threshold)[: count - len(above)]
    return candidates.keep(np.sort(np.concatenate([above, ties])))


def _nucleus(weights: FloatArray, p: float) -> tuple[int, np.float32]:
    """How many of the highest weights reach the share p of their sum, and the lowest of these."""
    wanted = p * weights.sum(dtype=np.float64)
    highest = _highest_first(weights, SORTED_FIRST)
    masses = np.cumsum(highest, dtype=np.float64)
    if masses[-1] < wanted and len(highest) < len(weights):
        highest = _highest_first(weights, len(weights))
        masses = np.cumsum(highest, dtype=np.float64)
    # A token stays while the mass of those before it is short of what is wanted.
    count = min(int(np.searchsorted(masses, wanted, side="left")) + 1, len(highest))
    return count, highest[count - 1]


def _highest_first(values: FloatArray, count: int) -> FloatArray:
    size = len(values)
    top = values if count >= size else np.partition(values, size - count)[size - count :]
    return np.sort(top)[::-1]


def keep_min_p(candidates: Candidates, p: float) -> Candidates:
    """Tokens at least p times as likely as the likeliest."""
    if p <= 0.0:
        return candidates
    return candidates.keep(np.flatnonzero(candidates.weights() >= min(p, 1.0)))


def warp(logits: FloatArray, row: RowSampling) -> Candidates:
    """All warpers in order on logits float32 [V] that are penalised already."""
    scores = warm(logits, row.temperature)
    candidates = Candidates(np.arange(len(scores), dtype=np.int64), scores)
    candidates = keep_top_k(candidates, row.top_k)
    candidates = keep_top_p(candidates, row.top_p)
    return keep_min_p(candidates, row.min_p)
