"""The trials of an audit: worst-case pairs of inputs for each mechanism, its samples on both, and the claim.

`strength` below 1 makes a mutant, a mechanism with that share of the noise it claims, which an audit has to catch.
"""

from dataclasses import dataclass

import numpy as np

from privacy.mechanisms import exact
from privacy.mechanisms.base import Floats, Integers
from privacy.mechanisms.bounds import epsilon_lower_bound, mu_lower_bound
from privacy.mechanisms.documents import DocumentTokens
from privacy.mechanisms.grids import bound_logits
from privacy.mechanisms.labels import ExponentialLabels, RandomisedResponse
from privacy.mechanisms.selection import Selection
from privacy.mechanisms.tokens import BoundedTokens
from privacy.mechanisms.vectors import GaussianVectors

#: Labels or tokens of the trials.
SIZE = 16


@dataclass(frozen=True, slots=True)
class Audit:
    """What was claimed and what was shown, in the same measure: "epsilon" or "mu"."""

    mechanism: str
    measure: str
    claimed: float
    lower_bound: float
    samples_a_side: int

    @property
    def holds(self) -> bool:
        return self.lower_bound <= self.claimed


def audit_response(epsilon: float, labels: int, samples: int, strength: float = 1.0) -> Audit:
    """Two inputs whose likeliest labels differ."""
    mechanism = RandomisedResponse(epsilon / strength, labels)
    logits = np.eye(labels)
    ours, theirs = (mechanism.release(np.broadcast_to(logits[label], (samples, labels))) for label in (0, 1))
    return Audit(mechanism.name, "epsilon", epsilon, epsilon_lower_bound(ours, theirs), samples)


def audit_bounded(mechanism: ExponentialLabels | BoundedTokens, samples: int, strength: float = 1.0) -> Audit:
    """One of SIZE at +B and the rest at -B, against the reverse: with many others the ratio comes near eta."""
    first = bound_logits(np.r_[1.0, np.full(SIZE - 1, -1e9)], mechanism.clip)
    return _audit_scores(mechanism, first, -first, samples, strength)


def audit_documents(eta: float, documents: int, samples: int, strength: float = 1.0) -> Audit:
    """One of the documents is replaced by one that says the opposite."""
    # So small a clip that also a document against one token moves all others by the whole of it.
    clip = 0.05
    mechanism = DocumentTokens(clip, 4 * clip / (documents * eta), documents)
    opinion = np.r_[30.0, np.zeros(SIZE - 1)]
    rest = np.zeros((documents - 1, SIZE))
    _, first = mechanism.scores(np.zeros(SIZE), np.vstack([opinion, rest]))
    _, second = mechanism.scores(np.zeros(SIZE), np.vstack([-opinion, rest]))
    return _audit_scores(mechanism, first, second, samples, strength)


def _audit_scores(mechanism: Selection, first: Integers, second: Integers, samples: int, strength: float) -> Audit:
    scale = mechanism.checked_scale * strength
    ours, theirs = (exact.select_many(scores, scale, samples) for scores in (first, second))
    return Audit(mechanism.name, "epsilon", mechanism.eta, epsilon_lower_bound(ours, theirs), samples)


def audit_vectors(noise_multiplier: float, samples: int, strength: float = 1.0) -> Audit:
    """Two opposite vectors of the clip's length, projected on what separates them; claimed is mu = 1 / multiplier."""
    mechanism = GaussianVectors(1.0, noise_multiplier)
    ends = mechanism.gridded(np.array([[1.0], [-1.0]]))
    noise = exact.gaussian_noise(mechanism.scale_steps(1) * strength, 2 * samples)
    sides = (ends[0, 0] + noise[:samples]).astype(float), (ends[1, 0] + noise[samples:]).astype(float)
    return Audit(mechanism.name, "mu", 1 / noise_multiplier, mu_lower_bound(*sides), samples)


def selection_probabilities(scores: Integers, scale: float) -> Floats:
    """What `exact.select` draws from, float64 [V]."""
    weights = np.exp((scores - scores.max()) / scale)
    probabilities: Floats = weights / weights.sum()
    return probabilities


def gaussian_probabilities(scale: float, reach: int) -> Floats:
    """The discrete Gaussian's probabilities of -reach ... reach, float64 [2 reach + 1], and nothing beyond."""
    points = np.arange(-reach, reach + 1)
    weights = np.exp(-np.square(points / scale) / 2)
    probabilities: Floats = weights / weights.sum()
    return probabilities
