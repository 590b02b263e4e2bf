"""Local DP: what a client does to its vectors before they leave it, and what a server may check of what arrives.

The noise is the client's and so is the guarantee: a server sees noised rows and cannot tell them from others. What it
can see is a row that never met the mechanism, and it refuses that one.
"""

import math
from dataclasses import dataclass

import numpy as np

from privacy.errors import MechanismError
from privacy.mechanisms import GaussianVectors, mechanism_for
from privacy.mechanisms.base import Floats
from privacy.types import Charge, MechanismSpec

#: How far from a whole number of steps float32 may have put a coordinate.
ON_GRID = 2**-6


@dataclass(frozen=True, slots=True)
class NoisedVectors:
    """Rows that may leave the client, float32 [N, D], and what releasing them cost it."""

    rows: Floats
    charge: Charge


def protect_vectors(vectors: Floats, spec: MechanismSpec) -> NoisedVectors:
    """Clip, grid and noise the rows of `vectors` [N, D] as `spec` says. Every call draws new noise and costs anew.

    Raises MechanismError for a spec that is not for vectors, or another shape.
    """
    return protect_with(vector_mechanism(spec), vectors)


def protect_with(mechanism: GaussianVectors, vectors: Floats) -> NoisedVectors:
    """Like `protect_vectors` with a mechanism that is kept, and with it the noise that was drawn ahead of time."""
    rows = mechanism.release(vectors)
    return NoisedVectors(rows, mechanism.charge(len(rows)))


def vector_mechanism(spec: MechanismSpec) -> GaussianVectors:
    """The vector mechanism of `spec`. Raises MechanismError where it is of another kind."""
    mechanism = mechanism_for(spec)
    if not isinstance(mechanism, GaussianVectors):
        raise MechanismError(f"{spec.name} does not noise vectors; local DP of vectors needs {GaussianVectors.name}")
    return mechanism


def check_arrived(rows: Floats, spec: MechanismSpec, width: int) -> None:
    """Raise MechanismError unless `rows` could come from the mechanism of `spec`: [N, width], finite, on its grid.

    A client that forgot the noise sends rows that are on no grid, or short ones, and is told so before they are used.
    """
    mechanism = vector_mechanism(spec)
    if rows.ndim != 2 or rows.shape[1] != width or not len(rows):
        raise MechanismError(f"the vectors have shape {rows.shape}; send rows of {width} numbers")
    steps = np.asarray(rows, np.float64) / mechanism.grid
    if not np.isfinite(steps).all():
        raise MechanismError("the vectors are not finite; noise them with the policy's mechanism before sending")
    if np.abs(steps - np.rint(steps)).max() > ON_GRID:
        raise MechanismError("the vectors are not on the mechanism's grid, so they were not noised; noise them first")
    if (np.square(steps).sum(axis=1) < _least_square(mechanism.scale_steps(width), width)).any():
        raise MechanismError("the vectors are shorter than noise of the policy's strength; noise them with it first")


def _least_square(scale: float, width: int) -> float:
    """What the squared length of noise falls below once in 10^9 rows at most (Laurent and Massart, 2000, lemma 1)."""
    return scale * scale * (width - 2 * math.sqrt(width * math.log(1e9)))
