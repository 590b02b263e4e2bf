"""Tokens of a text about private documents: what each document adds to a public model's opinion, clipped and averaged.

The idea is InvisibleInk's (Vinod, Pillutla, Thakurta, 2025, https://arxiv.org/abs/2507.02974): the public part of the
logits needs no protection, so only the difference is clipped. A pure function of logits: who runs the model, once
without any document and once with each, is the caller's business.
"""

import numpy as np

from privacy.errors import MechanismError
from privacy.mechanisms.base import Floats, Integers
from privacy.mechanisms.grids import LOGIT_STEPS, bound_differences, log_probabilities, top_at_zero
from privacy.mechanisms.selection import Selection

#: Public logits this many temperatures below what documents could make up for count as no lower: scores stay small.
FLOOR_TEMPERATURES = 200.0


class DocumentTokens(Selection):
    """Draws a token in proportion to exp((public + mean of clipped (private - public)) / temperature).

    For texts that differ in one of `documents` documents, by replacement: each moves a token's mean by at most
    2 clip / documents, to either side, so eta = 4 clip / (documents temperature). The paper's rho is a quarter of ours:
    it is for a document against none. Ours covers adding one document to a corpus, or taking one away, where the
    `documents` best are retrieved and each is scored alone. With fewer given, the missing ones add nothing. With
    `top_k` above 0, only tokens are drawn whose public logit is at most 2 clip / documents below the k-th: chosen from
    public numbers, so free.
    """

    name = "private-documents"

    def __init__(self, clip: float, temperature: float, documents: int, top_k: int = 0) -> None:
        super().__init__(LOGIT_STEPS * documents / clip, temperature)
        self.clip, self.documents, self.top_k = clip, documents, top_k

    def sample(self, public: Floats, private: Floats) -> int:
        """One token from the public model's logits [V] and those with each document [n, V], n at most `documents`.

        Raises MechanismError for other shapes.
        """
        ids, scores = self.scores(public, private)
        return int(ids[self.choose(scores)])

    def scores(self, public: Floats, private: Floats) -> tuple[Integers, Integers]:
        """The tokens that may be drawn, int64 [K], and their scores in steps, int64 [K]. Never to be released."""
        public, private = np.asarray(public, np.float64), np.asarray(private, np.float64)
        self._check(public, private)
        ids, base = self._candidates(top_at_zero(public))
        differences = bound_differences(log_probabilities(private), log_probabilities(public), self.clip)
        return ids, base + differences[:, ids].sum(axis=0)

    def _candidates(self, public: Floats) -> tuple[Integers, Integers]:
        """The tokens that may be drawn, and their public scores in steps."""
        ids = np.flatnonzero(public >= self._threshold(public))
        floor = FLOOR_TEMPERATURES * self.temperature + 2 * self.clip
        floored = np.maximum(public[ids], -floor)
        return ids, np.rint(floored * self.steps_per_unit).astype(np.int64)

    def _threshold(self, public: Floats) -> float:
        if not 0 < self.top_k < len(public):
            return -np.inf
        kth = np.partition(public, len(public) - self.top_k)[len(public) - self.top_k]
        return float(kth - 2 * self.clip / self.documents)

    def _check(self, public: Floats, private: Floats) -> None:
        if public.ndim != 1 or private.ndim != 2 or not len(public) or private.shape[1] != len(public):
            raise MechanismError("the public logits must be one row of a vocabulary, the private ones a row a document")
        if len(private) > self.documents:
            raise MechanismError(f"more than {self.documents} documents were given; retrieve as many as that")
