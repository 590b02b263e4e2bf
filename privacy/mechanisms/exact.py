"""The exact samplers of OpenDP: integers in, integers out, randomness from its cryptographic generator.

The only file that names OpenDP. Each function asks OpenDP's own privacy map too, so that a release cannot cost more
than it was declared to. OpenDP's generator is seeded by the operating system and diverges after a fork (a test shows
both).
"""

import os
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from privacy.errors import MechanismError

if TYPE_CHECKING:
    from privacy.mechanisms.base import Integers

#: How far OpenDP's rounding-up map may lie above the formula.
MAP_SLACK = 1e-9


@lru_cache(maxsize=1)
def _opendp() -> Any:
    try:
        import opendp.prelude
    except ImportError:
        raise MechanismError("the exact samplers need OpenDP; install it with: pip install opendp") from None
    opendp.prelude.enable_features("contrib")
    return opendp.prelude


def gaussian_noise(scale: float, count: int) -> "Integers":
    """`count` integers from the discrete Gaussian of parameter `scale`, int64."""
    return np.array(_gaussian(scale)(np.zeros(count, np.int64)), np.int64)


def gaussian_rho(scale: float, sensitivity: float) -> float:
    """OpenDP's bound on rho for this noise on integer vectors of this L2 sensitivity."""
    return float(_gaussian(scale).map(sensitivity))


@lru_cache(maxsize=64)
def _gaussian(scale: float) -> Any:
    dp = _opendp()
    space = dp.vector_domain(dp.atom_domain(T="i64")), dp.l2_distance(T="f64")
    return dp.m.make_gaussian(*space, scale=scale)


def bits(probability: float, count: int) -> "Integers":
    """`count` independent bits, each 1 with `probability` (at most 1/2), int64."""
    # Randomised response of zeros is a source of exact coins.
    size = -(-count // 8)
    flipped = np.frombuffer(_flips(2 * probability)(bytes(size)), np.uint8)
    return np.unpackbits(flipped)[:count].astype(np.int64)


@lru_cache(maxsize=64)
def _flips(share: float) -> Any:
    dp = _opendp()
    space = dp.bitvector_domain(max_weight=1), dp.discrete_distance()
    return dp.m.make_randomized_response_bitvec(*space, f=share)


def uniform_below(bound: int, count: int) -> "Integers":
    """`count` integers uniform on 0 ... bound - 1, int64, by rejection from the operating system's random bytes."""
    limit = (1 << 32) // bound * bound
    kept = np.empty(0, np.int64)
    while len(kept) < count:
        words = np.frombuffer(os.urandom(4 * (count - len(kept) + 16)), np.uint32).astype(np.int64)
        kept = np.concatenate([kept, words[words < limit] % bound])
    return kept[:count]


def select(scores: "Integers", scale: float) -> int:
    """One index, drawn with probability proportional to exp(score / scale): the largest score after Gumbel noise.

    scores: int64 [V]. The time depends on how many scores are close together, and so on the data.
    """
    return int(_noisy_max(scale)(scores))


def select_many(scores: "Integers", scale: float, count: int) -> "Integers":
    """`count` independent draws of `select` for the same scores, int64: cheaper, for tests and audits."""
    dp = _opendp()
    block = 1000
    repeated = dp.c.make_composition([_noisy_max(scale)] * block)
    draws = [repeated(scores) for _ in range(-(-count // block))]
    return np.array(draws, np.int64).ravel()[:count]


def select_rho(scale: float, sensitivity: int) -> float:
    """OpenDP's bound on rho for scores that differ by at most `sensitivity` each."""
    return float(_noisy_max(scale).map(sensitivity))


@lru_cache(maxsize=64)
def _noisy_max(scale: float) -> Any:
    dp = _opendp()
    space = dp.vector_domain(dp.atom_domain(T="i64")), dp.linf_distance(T="i64")
    # Under this measure OpenDP's noise is Gumbel's, which makes it the exponential mechanism.
    return dp.m.make_noisy_max(*space, dp.zero_concentrated_divergence(), scale=scale)


def check_map(name: str, mapped: float, declared: float) -> None:
    """Raise MechanismError where OpenDP grants less than was declared."""
    if not mapped <= declared * (1 + MAP_SLACK):
        raise MechanismError(f"the sampler of {name} grants rho {mapped:.6g}, not the declared {declared:.6g}")
