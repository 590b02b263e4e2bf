"""Mechanisms: what turns an answer into one that tells little of its input, and what each release costs.

    mechanism = mechanism_for(MechanismSpec("randomised-response", (("epsilon", 2.0), ("labels", 2.0))))
    charge = mechanism.charge(count=3)         # before anything is computed
    labels = mechanism.release(logits)         # int64 [N]

Randomness comes from OpenDP's exact samplers alone, never from floating-point noise. Knows no policy and no ledger.
"""

from privacy.mechanisms.base import Mechanism
from privacy.mechanisms.documents import DocumentTokens
from privacy.mechanisms.labels import ExponentialLabels, RandomisedResponse
from privacy.mechanisms.registry import check_mechanism, mechanism_for, mechanism_names
from privacy.mechanisms.tokens import BoundedTokens
from privacy.mechanisms.vectors import GaussianVectors

__all__ = [
    "BoundedTokens",
    "DocumentTokens",
    "ExponentialLabels",
    "GaussianVectors",
    "Mechanism",
    "RandomisedResponse",
    "check_mechanism",
    "mechanism_for",
    "mechanism_names",
]
