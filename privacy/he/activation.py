"""Activations of degree two, which is what a ciphertext can be put through cheaply: squares between linear layers.

a z^2 + b z + c is a (z + b/2a)^2 + c - b^2/4a: everything but the square goes into the weights beside it, so an
activation costs one level. Knows polynomials and weights; no ciphertexts.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from privacy.errors import EncryptionError
from privacy.he.packing import Floats

_POINTS = 2001


@dataclass(frozen=True, slots=True)
class Quadratic:
    """constant + linear z + square z^2."""

    constant: float
    linear: float
    square: float

    def __call__(self, values: Floats) -> Floats:
        return np.asarray(self.constant + values * (self.linear + values * self.square))


SQUARE = Quadratic(0.0, 0.0, 1.0)
_FITTED: dict[str, Callable[[Floats], Floats]] = {
    "relu": lambda z: np.maximum(z, 0.0),
    "gelu": lambda z: 0.5 * z * (1 + np.tanh(np.sqrt(2 / np.pi) * (z + 0.044715 * z**3))),
    "silu": lambda z: z / (1 + np.exp(-z)),
}


def activation_named(name: str, reach: float = 4.0) -> Quadratic:
    """`square`, or the least-squares parabola of `relu`, `gelu` or `silu` on [-reach, reach].

    Raises EncryptionError for another name. tanh and the sigmoid are not there: the best parabola of an odd function
    is a line.
    """
    if name == "square":
        return SQUARE
    if name not in _FITTED or not 0 < reach < 1e3:
        raise EncryptionError(f"an encrypted head knows the activations square, {', '.join(_FITTED)}")
    points = np.linspace(-reach, reach, _POINTS)
    constant, linear, square = np.polynomial.polynomial.polyfit(points, _FITTED[name](points), 2)
    return Quadratic(float(constant), float(linear), float(square))


def fold_before(activation: Quadratic, weight: Floats, bias: Floats) -> tuple[Floats, Floats]:
    """The layer before the activation, so that its square alone is left to do."""
    if not np.isfinite([activation.constant, activation.linear, activation.square]).all() or activation.square == 0:
        raise EncryptionError("an activation needs finite coefficients and a square that is not zero")
    factor = np.sqrt(abs(activation.square))
    return weight * factor, (bias + activation.linear / (2 * activation.square)) * factor


def fold_after(activation: Quadratic, weight: Floats, bias: Floats) -> tuple[Floats, Floats]:
    """The layer after the activation, given the square of `fold_before`'s layer instead of the activation."""
    rest = activation.constant - activation.linear**2 / (4 * activation.square)
    return weight * np.sign(activation.square), bias + rest * weight.sum(axis=1)
