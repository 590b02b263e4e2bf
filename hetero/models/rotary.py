"""Rotary positions' cosines and sines, looked up on the host, for every variant that these families have.

Formulas after `transformers` 5.23, modeling_rope_utils.py, in fp32 as there. A model's frequencies never change with a
text's length: `rope_config.py` states the rule for `dynamic` and `longrope`.
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from hetero.batch import LongArray
from hetero.errors import ModelError
from hetero.models.config import DecoderConfig

Frequencies = tuple[torch.Tensor, float]


class RotaryTable:
    """`rows(positions)` for one model. Models with learned positions get the identity (cosine 1, sine 0)."""

    def __init__(self, config: DecoderConfig) -> None:
        self.head_size = config.head_size
        self._frequencies: NDArray[np.float32] | None = None
        self._scale = 1.0
        if config.positions == "rotary":
            frequencies, self._scale = inverse_frequencies(config)
            self._frequencies = frequencies.numpy()

    def rows(self, positions: LongArray) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """(cosines, sines), each float32 [T, head_size], of positions [T]; the half-split convention."""
        if self._frequencies is None:
            shape = (len(positions), self.head_size)
            return np.ones(shape, np.float32), np.zeros(shape, np.float32)
        angles = positions.astype(np.float32)[:, None] * self._frequencies
        angles = np.concatenate([angles, angles], axis=1)
        return np.cos(angles) * np.float32(self._scale), np.sin(angles) * np.float32(self._scale)


def inverse_frequencies(config: DecoderConfig) -> Frequencies:
    """(fp32 [head_size / 2], what cosines and sines are multiplied by)."""
    rope: dict[str, Any] = dict(config.rope_parameters)
    return _VARIANTS[rope["rope_type"]](rope, config.head_size)


def _steps(size: int) -> torch.Tensor:
    return torch.arange(0, size, 2, dtype=torch.int64).float() / size


def _default(rope: dict[str, Any], size: int) -> Frequencies:
    return 1.0 / (rope["rope_theta"] ** _steps(size)), 1.0


def _linear(rope: dict[str, Any], size: int) -> Frequencies:
    return _default(rope, size)[0] / rope["factor"], 1.0


def _llama3(rope: dict[str, Any], size: int) -> Frequencies:
    plain, factor, length = _default(rope, size)[0], rope["factor"], rope["original_max_position_embeddings"]
    low, high = rope["low_freq_factor"], rope["high_freq_factor"]
    wavelength = 2 * math.pi / plain
    smooth = (length / wavelength - low) / (high - low)
    between = (1 - smooth) * plain / factor + smooth * plain
    scaled = torch.where(wavelength > length / low, plain / factor, between)
    return torch.where(wavelength < length / high, plain, scaled), 1.0


def _longrope(rope: dict[str, Any], size: int) -> Frequencies:
    factor, length = rope["factor"], rope["original_max_position_embeddings"]
    if len(rope["short_factor"]) != size // 2:
        raise ModelError(
            f"config.json: 'short_factor' has {len(rope['short_factor'])} numbers, but a head of {size} "
            f"components needs {size // 2}: fetch the file again."
        )
    scale = 1.0 if factor <= 1 else math.sqrt(1 + math.log(factor) / math.log(length))
    short = torch.tensor(rope["short_factor"], dtype=torch.float32)
    return 1.0 / (short * rope["rope_theta"] ** _steps(size)), rope.get("attention_factor", scale)


def _yarn_scale(rope: dict[str, Any]) -> float:
    def scale(of: float = 1.0) -> float:
        return 1.0 if rope["factor"] <= 1 else 0.1 * of * math.log(rope["factor"]) + 1.0

    if "attention_factor" in rope:
        return float(rope["attention_factor"])
    if "mscale" in rope and "mscale_all_dim" in rope:
        return scale(rope["mscale"]) / scale(rope["mscale_all_dim"])
    return scale()


def _yarn_range(rope: dict[str, Any], size: int) -> tuple[float, float]:
    """Components between which YaRN passes from extrapolation to interpolation."""

    def component(rotations: float) -> float:
        turns = rope["original_max_position_embeddings"] / (rotations * 2 * math.pi)
        return size * math.log(turns) / (2 * math.log(rope["rope_theta"]))

    low, high = component(rope.get("beta_fast", 32)), component(rope.get("beta_slow", 1))
    if rope["truncate"]:
        low, high = math.floor(low), math.ceil(high)
    return max(low, 0), min(high, size - 1)


def _yarn(rope: dict[str, Any], size: int) -> Frequencies:
    plain = _default(rope, size)[0]
    low, high = _yarn_range(rope, size)
    width = high - low if high != low else 0.001
    ramp = ((torch.arange(size // 2, dtype=torch.float32) - low) / width).clamp(0, 1)
    return plain / rope["factor"] * ramp + plain * (1 - ramp), _yarn_scale(rope)


_VARIANTS: dict[str, Callable[[dict[str, Any], int], Frequencies]] = {
    "default": _default,
    "linear": _linear,
    "dynamic": _default,
    "yarn": _yarn,
    "longrope": _longrope,
    "llama3": _llama3,
}
