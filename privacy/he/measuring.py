"""What an encrypted model costs on this machine: seconds, ciphertext bytes, key bytes. For placers and for people.

Measured with keys of our own, which workers drop for tenants' keys; what is measured depends on the model alone.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

import numpy as np

from privacy.he.client import Sealer
from privacy.he.description import Description
from privacy.he.keys import SecretKeys
from privacy.he.parameters import ParameterSet
from privacy.he.planning import describe
from privacy.he.pool import Workers
from privacy.he.samples import sample_vectors
from privacy.he.spec import ModelSpec


@dataclass(frozen=True, slots=True)
class EncryptedCost:
    """One application of a model to one ciphertext, which carries up to `vectors` vectors. Seconds are of one core."""

    name: str
    parameters: str
    vectors: int
    #: Of the worker that computes, CPU time.
    seconds: float
    #: From handing the ciphertext over to having the answers.
    round_seconds: float
    #: Of the client, who encrypts and decrypts.
    client_seconds: float
    sent_bytes: int
    answered_bytes: int
    #: Once, before the first ciphertext.
    key_bytes: int
    rotations: int
    largest_error: float


@dataclass(frozen=True, slots=True)
class Round:
    """One ciphertext: what it took, and the largest error of its results."""

    seconds: float
    round_seconds: float
    client_seconds: float
    sent_bytes: int
    answered_bytes: int
    largest_error: float


@dataclass(frozen=True, slots=True)
class Rounds:
    """Some ciphertexts of one model, one after the other."""

    spec: ModelSpec
    description: Description
    key_bytes: int
    rounds: tuple[Round, ...]


def measure_rounds(pool: Workers, spec: ModelSpec, keys: SecretKeys | None = None, rounds: int = 3) -> Rounds:
    """Apply `spec`, which the workers have, to ciphertexts, after one that brings the keys. Raises EncryptionError."""
    description = describe(spec)
    sealer = Sealer(description, keys)
    bundle = sealer.bundle()
    vectors = _vectors(description.vectors, spec.columns, min(1.0, description.norm_bound))
    wanted = spec.in_the_clear(vectors)

    def once() -> Round:
        began = time.perf_counter()
        (sealed,) = sealer.seal(vectors)
        sent = time.perf_counter()
        applied = pool.apply(spec.digest, f"measuring/{bundle.digest}", lambda: bundle, sealed)
        answered = time.perf_counter()
        found = sealer.open([applied.answers], len(vectors))
        ours = sent - began + time.perf_counter() - answered
        sizes = len(sealed), sum(map(len, applied.answers))
        return Round(applied.seconds, answered - sent, ours, *sizes, float(abs(found - wanted).max()))

    once()
    return Rounds(spec, description, bundle.size_bytes, tuple(once() for _ in range(rounds)))


def measure(pool: Workers, spec: ModelSpec, keys: SecretKeys | None = None, rounds: int = 3) -> EncryptedCost:
    """The median of some applications of `spec`, which the workers have. Raises EncryptionError."""
    found = measure_rounds(pool, spec, keys, rounds)
    each = found.rounds
    return EncryptedCost(
        spec.name,
        spec.parameters,
        found.description.vectors,
        median(one.seconds for one in each),
        median(one.round_seconds for one in each),
        median(one.client_seconds for one in each),
        each[-1].sent_bytes,
        each[-1].answered_bytes,
        found.key_bytes,
        len(found.description.rotations),
        max(one.largest_error for one in each),
    )


def largest_error(pool: Workers, spec: ModelSpec, count: int) -> float:
    """Over `count` vectors, extremes up to the longest allowed among them, against numpy. Raises EncryptionError."""
    description = describe(spec)
    sealer = Sealer(description)
    bundle = sealer.bundle()
    vectors = sample_vectors(count, spec.columns, description.norm_bound)
    worst, size = 0.0, description.vectors
    for at in range(0, count, size):
        some = vectors[at : at + size]
        (sealed,) = sealer.seal(some)
        answers = pool.apply(spec.digest, f"measuring/{bundle.digest}", lambda: bundle, sealed).answers
        worst = max(worst, float(abs(sealer.open([answers], len(some)) - spec.in_the_clear(some)).max()))
    return worst


def measured_seconds(pool: Workers, specs: Sequence[ModelSpec]) -> dict[str, float]:
    """Seconds of one ciphertext by model name. Models of one parameter set share keys while they are measured."""
    keys: dict[ParameterSet, SecretKeys] = {}
    found = {}
    for spec in specs:
        parameters = describe(spec).parameters
        shared = keys.setdefault(parameters, SecretKeys(parameters))
        found[spec.name] = measure(pool, spec, shared).seconds
    return found


def _vectors(count: int, columns: int, norm: float) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    rows = np.random.default_rng(0).normal(size=(count, columns))
    return np.asarray(norm * rows / np.linalg.norm(rows, axis=1, keepdims=True))
