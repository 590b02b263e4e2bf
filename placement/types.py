"""The nouns of placement: what computes, what joins, what is moved, and the answer.

Knows nothing of models' weights, engines' code or processes. Ranges are half-open: ``first <= block < last``.
"""

from dataclasses import dataclass
from enum import StrEnum


class DeviceKind(StrEnum):
    """The three kinds of device; two devices of one kind differ by name."""

    CPU = "cpu"
    GPU = "gpu"
    NPU = "npu"


@dataclass(frozen=True, slots=True)
class Device:
    """One thing that can compute, as `hetero devices` prints it.

    `name` is what a plan says: ``cpu``, ``gpu0``, ``npu``; on another node ``NODE.cpu``. `engines` are those that can
    drive it, the preferred first. `memory_bytes` is what is free for weights, KV cache and activations.
    """

    name: str
    kind: DeviceKind
    engines: tuple[str, ...]
    precisions: tuple[str, ...]
    memory_bytes: int
    description: str = ""
    emulated: bool = False
    static_shapes: bool = False
    node: str = ""
    node_id: str = ""
    cores: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Link:
    """What joins two devices, in one direction: seconds = latency_seconds + bytes / bytes_per_second."""

    source: str
    target: str
    latency_seconds: float
    bytes_per_second: float


@dataclass(frozen=True, slots=True)
class Layer:
    """One piece that placement moves: a transformer block, or the embedding or head that travels with an end."""

    index: int
    kind: str
    weight_bytes: int
    kv_bytes_per_token: int
    activation_bytes_per_token: int


@dataclass(frozen=True, slots=True)
class Stage:
    """A half-open range of blocks on one device, driven by one engine at one precision (fp32, bf16, fp16)."""

    device: Device
    engine: str
    first: int
    last: int
    precision: str
    predicted_seconds: float | None = None

    @property
    def block_count(self) -> int:
        return self.last - self.first


@dataclass(frozen=True, slots=True)
class EncryptedStage:
    """A linear layer after the last block, computed on ciphertexts: its device sees those alone.

    Whoever runs the last block encrypts what it gives, sends `sent_bytes`, gets `answered_bytes` and decrypts them.
    `predicted_seconds` are from handing the ciphertext over to having the answer, `client_seconds` of encrypting and
    decrypting; None where neither was measured, nor then the bytes.
    """

    device: Device
    layer: str
    parameters: str
    predicted_seconds: float | None = None
    client_seconds: float | None = None
    sent_bytes: int | None = None
    answered_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """Stages in the order in which a hidden state passes them, and why they were chosen.

    Each of `encrypted` may follow the last stage: which one a request uses, it says.
    """

    stages: tuple[Stage, ...]
    reason: str
    encrypted: tuple[EncryptedStage, ...] = ()

    @property
    def block_count(self) -> int:
        return self.stages[-1].last
