"""Guesses of an input's depth before it runs: for the order of scheduling only, never for what is answered.

Knows token ids and numbers; whether a guess is worth anything is for `rank_correlation` to say, against baselines that
know nothing: a constant, the length, a hash.
"""

import math
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import rankdata

Ids = Sequence[int]


@dataclass(frozen=True, slots=True)
class UnigramTable:
    """How often each token was seen, for surprisal; a token never seen counts as half a time."""

    counts: dict[int, int]
    total: int

    def surprisal(self, ids: Ids) -> float:
        """Mean nats a token."""
        if not ids:
            return 0.0
        return sum(math.log(self.total / self.counts.get(token, 0.5)) for token in ids) / len(ids)


def unigram_table(texts: Iterable[Ids]) -> UnigramTable:
    counts = Counter(token for ids in texts for token in ids)
    return UnigramTable(dict(counts), max(1, counts.total()))


def constant(ids: Ids) -> float:
    return 0.0


def length(ids: Ids) -> float:
    return float(len(ids))


def hashed(ids: Ids) -> float:
    """The same number for the same text, and nothing else."""
    return float(zlib.crc32(np.asarray(ids, np.int64).tobytes()))


def baselines() -> dict[str, Callable[[Ids], float]]:
    return {"constant": constant, "length": length, "hash": hashed}


def rank_correlation(guesses: Sequence[float], depths: Sequence[float]) -> float:
    """Spearman's: the correlation of ranks, ties sharing theirs; 0 where one of the two is constant."""
    first, second = rankdata(guesses), rankdata(depths)
    if np.ptp(first) == 0 or np.ptp(second) == 0:
        return 0.0
    return float(np.corrcoef(first, second)[0, 1])
