"""From logits to tokens, for every row of a batch as that row asks; runs on the last stage.

Knows arrays and `RowSampling`; keeps no state between calls. A row's randomness is one number drawn from Philox keyed
by (seed, position), so that a request gives the same tokens alone, in a batch, after preemption and on any plan.
A private row is the exception: its randomness is the operating system's, for who knows a seed would know the noise.
Log-probabilities are those of the model's own distribution: the log-softmax of the logits before every warper
(penalty, temperature and truncation leave them alone), so they compare between requests.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from hetero.batch import FloatArray, LongArray, RowSampling, SampledToken
from hetero.engine.warpers import penalize, warp
from hetero.errors import BackendError

if TYPE_CHECKING:
    from privacy.mechanisms import BoundedTokens

WORD = (1 << 64) - 1


def sample(logits: FloatArray, rows: Sequence[RowSampling]) -> tuple[SampledToken, ...]:
    """Choose one token for each row.

    logits: float32 [R, V], left as they are; rows: R of them. Raises BackendError where the logits are not numbers or
    their count is not that of the rows.
    """
    if logits.ndim != 2 or len(logits) != len(rows):
        raise BackendError(f"the last stage gave logits of shape {logits.shape} for {len(rows)} rows to sample.")
    likeliest = logits.argmax(axis=1)
    _check_numbers(logits, likeliest, np.array([row.private_clip == 0 for row in rows], np.bool_))
    return tuple(
        SampledToken(token_id) if _is_plain(row) else _sample_row(logits[index], row, token_id)
        for index, (row, token_id) in enumerate(zip(rows, likeliest.tolist(), strict=True))
    )


def _check_numbers(logits: FloatArray, likeliest: LongArray, told: NDArray[np.bool_]) -> None:
    """One NaN or infinity among a row's logits is what argmax finds, so looking at the winners is enough.

    Rows that are not `told` of it are private: an error would say something of their input, and their mechanism takes
    every number.
    """
    winners = logits[np.arange(len(logits)), likeliest]
    if not np.isfinite(winners[told]).all():
        raise BackendError("the model's logits are not finite; try a stage precision with more range, such as fp32.")


def _is_plain(row: RowSampling) -> bool:
    return row.temperature <= 0 and row.repetition_penalty == 1.0 and row.logprobs < 0 and row.private_clip == 0


def _sample_row(logits: FloatArray, row: RowSampling, likeliest: int) -> SampledToken:
    if row.private_clip > 0:
        return SampledToken(_mechanism(row.private_clip, row.temperature).sample(logits))
    token_id = _choose(logits, row, likeliest)
    if row.logprobs < 0:
        return SampledToken(token_id)
    return _with_logprobs(logits, token_id, row.logprobs)


def _choose(logits: FloatArray, row: RowSampling, likeliest: int) -> int:
    if row.repetition_penalty == 1.0 and row.temperature <= 0:
        return likeliest
    penalized = penalize(logits, row.seen, row.repetition_penalty)
    if row.temperature <= 0:
        return int(penalized.argmax())
    return draw(penalized, row)


def draw(logits: FloatArray, row: RowSampling) -> int:
    """Draw from what the warpers leave, by the inverse of the cumulated weights in the order of ids."""
    candidates = warp(logits, row)
    masses = np.cumsum(candidates.weights(), dtype=np.float64)
    index = int(np.searchsorted(masses, uniform(row.seed, row.position) * masses[-1], side="right"))
    return int(candidates.ids[min(index, len(masses) - 1)])


@lru_cache(maxsize=16)
def _mechanism(clip: float, temperature: float) -> "BoundedTokens":
    from privacy.mechanisms import BoundedTokens

    return BoundedTokens(clip, temperature)


def uniform(seed: int, position: int) -> float:
    """A number in [0, 1) with 53 random bits, a function of (seed, position) alone."""
    generator = np.random.Philox(key=(seed & WORD) | (position & WORD) << 64)
    return float(int(generator.random_raw()) >> 11) * 2.0**-53


def _with_logprobs(logits: FloatArray, token_id: int, count: int) -> SampledToken:
    highest = float(logits.max())
    normalizer = highest + float(np.log(np.exp(logits - np.float32(highest)).sum(dtype=np.float64)))
    alternatives = tuple((int(i), float(logits[i]) - normalizer) for i in _top(logits, count))
    return SampledToken(token_id, float(logits[token_id]) - normalizer, alternatives)


def _top(logits: FloatArray, count: int) -> LongArray:
    """Ids of the `count` highest logits, highest first, among equals the lower id first."""
    count = min(count, len(logits))
    if count == 0:
        return np.empty(0, np.int64)
    threshold = np.partition(logits, len(logits) - count)[len(logits) - count]
    ids = np.flatnonzero(logits >= threshold)
    return ids[np.lexsort((ids, -logits[ids]))][:count]
