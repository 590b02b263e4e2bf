"""The memory account of a stage: weights, KV cache, activations and what compiling leaves behind.

Bytes of any range of blocks, from a model's description and, where they were measured, from the engine's own answers.
Knows neither times nor which plan is good.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from placement.problem import USABLE_SHARE, ModelShape, Traffic
from placement.profiles import SegmentMemory
from placement.rooflines import NUMBER_BYTES
from placement.types import Device, DeviceKind

Floats = NDArray[np.float64]

#: KV blocks are of so many tokens; a sequence takes whole blocks.
KV_BLOCK_TOKENS = 32
#: Arrays of one row's activations that are alive together: input, output, normalised, queries, the wide middle.
_LIVE_ACTIVATIONS = 8


@dataclass(frozen=True, slots=True)
class MemoryAccount:
    """Bytes by block and at the ends; `fixed_bytes` come with every stage, whatever its length."""

    block_bytes: Floats
    first_bytes: float
    last_bytes: float
    fixed_bytes: float

    def table(self) -> Floats:
        """[L+1, L+1] bytes of a stage by (first, last), for first < last."""
        prefix = np.concatenate([[0.0], np.cumsum(self.block_bytes)])
        size = prefix[None, :] - prefix[:, None] + self.fixed_bytes
        size[0] += self.first_bytes
        size[:, -1] += self.last_bytes
        return np.asarray(size)


def usable_bytes(device: Device) -> float:
    """What plans may fill of the device's free memory."""
    return device.memory_bytes * USABLE_SHARE


def kv_tokens(traffic: Traffic, device: Device) -> int:
    """Tokens of KV that every block keeps: whole blocks a sequence, or on static shapes every slot at its largest."""
    if device.static_shapes:
        return traffic.concurrency * traffic.longest_tokens
    return traffic.concurrency * math.ceil(traffic.longest_tokens / KV_BLOCK_TOKENS) * KV_BLOCK_TOKENS


def memory_account(
    model: ModelShape,
    traffic: Traffic,
    device: Device,
    precision: str,
    measured: Sequence[SegmentMemory] = (),
) -> MemoryAccount:
    """The account of stages on `device` at `precision`; `measured` are that option's own measurements."""
    width = NUMBER_BYTES.get(precision, 2) / model.bytes_per_weight
    share = _measured_share(model, measured, width)
    kv = 0 if model.encoder else kv_tokens(traffic, device)
    per_token = _measured_kv(measured)
    blocks = [
        layer.weight_bytes * width * share
        + kv * (layer.kv_bytes_per_token * NUMBER_BYTES.get(precision, 2) / 2 if per_token is None else per_token)
        + _compile_bytes(measured)
        for layer in model.layers
    ]
    embedding = model.embedding_bytes if device.kind is DeviceKind.CPU else 0
    return MemoryAccount(
        np.array(blocks), float(embedding), model.head_bytes * width * share, _activation_bytes(model, traffic)
    )


def _activation_bytes(model: ModelShape, traffic: Traffic) -> float:
    rows = max(min(traffic.prompt_tokens, traffic.chunk_tokens), traffic.concurrency)
    if model.encoder:
        rows = traffic.prompt_tokens * traffic.concurrency
    return rows * max(layer.activation_bytes_per_token for layer in model.layers) * _LIVE_ACTIVATIONS


def _measured_share(model: ModelShape, measured: Sequence[SegmentMemory], width: float) -> float:
    """How many times its nominal weights an engine keeps, by its largest measured segment; 1 where none was."""
    if not measured:
        return 1.0
    largest = max(measured, key=lambda segment: segment.last - segment.first)
    nominal = sum(layer.weight_bytes for layer in model.layers[largest.first : largest.last]) * width
    nominal += model.head_bytes * width if largest.last == model.block_count else 0.0
    return largest.weight_bytes / nominal if nominal and largest.weight_bytes else 1.0


def _measured_kv(measured: Sequence[SegmentMemory]) -> float | None:
    known = [each.kv_bytes_per_token / (each.last - each.first) for each in measured if each.kv_bytes_per_token]
    return max(known) if known else None


def _compile_bytes(measured: Sequence[SegmentMemory]) -> float:
    """Bytes a block that compiling leaves, of the largest measured segment: small ones carry the engine's own."""
    if not measured:
        return 0.0
    largest = max(measured, key=lambda segment: segment.last - segment.first)
    return largest.compile_bytes / (largest.last - largest.first)
