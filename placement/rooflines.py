"""What a device should take where nothing was measured: bytes over bandwidth or operations over speed, as the larger.

The rates are the best that was measured of the device with any engine and precision, or else usual ones of its kind.
Such a prior is a guess and says so: its relative error is large.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from placement.profiles import Profile, SegmentTime
from placement.segment_times import StageParts
from placement.types import Device, DeviceKind, Layer

#: Bytes of one number at each precision.
NUMBER_BYTES = {"fp32": 4, "bf16": 2, "fp16": 2, "int8": 1, "fp8": 1, "int4": 0.5}


@dataclass(frozen=True, slots=True)
class Roofline:
    """A device's rates, what a stage costs beside them, and how far a prediction from them may be off."""

    bytes_per_second: float
    operations_per_second: float
    overhead_seconds: float
    relative_error: float


#: Usual rates by kind; an emulator computes on the CPU what it pretends to be.
_USUAL = {
    DeviceKind.CPU: Roofline(2e10, 2e11, 2e-4, 1.0),
    DeviceKind.GPU: Roofline(4e11, 2e13, 2e-4, 1.0),
    DeviceKind.NPU: Roofline(4e10, 4e12, 1e-3, 1.0),
}
_EMULATED = Roofline(5e8, 5e9, 1e-2, 1.0)
_FROM_SAME_DEVICE_ERROR = 0.5


@dataclass(frozen=True, slots=True)
class Weights:
    """How many weights each block, and the head, has; KV bytes a token of a block are counted in fp16."""

    blocks: tuple[float, ...]
    head: float
    kv_bytes_per_token: float

    def of(self, first: int, last: int) -> float:
        """Weights of blocks [first, last) and, with the last block, of the head."""
        return sum(self.blocks[first:last]) + (self.head if last == len(self.blocks) else 0.0)


def weights_of(layers: Sequence[Layer], bytes_per_weight: int, head_bytes: int) -> Weights:
    """Numbers of weights from bytes as a model's description counts them."""
    kv = max((layer.kv_bytes_per_token for layer in layers), default=0)
    return Weights(tuple(layer.weight_bytes / bytes_per_weight for layer in layers), head_bytes / bytes_per_weight, kv)


def roofline_of(device: Device, profile: Profile | None, weights: Weights) -> Roofline:
    """The rates of a device: the best that its own measurements reach, else those of its kind."""
    own = [time for time in profile.segments if time.device == device.name] if profile else []
    usual = _EMULATED if device.emulated else _USUAL[device.kind]
    if not own:
        return usual
    rates = list(_rates(own, weights))
    # A time of 0 seconds, or a model of no weights, measures no rate.
    return Roofline(
        max((rate for rate, _ in rates), default=0.0) or usual.bytes_per_second,
        max((rate for _, rate in rates), default=0.0) or usual.operations_per_second,
        usual.overhead_seconds,
        _FROM_SAME_DEVICE_ERROR,
    )


def _rates(times: Iterable[SegmentTime], weights: Weights) -> Iterable[tuple[float, float]]:
    for time in times:
        seconds = sorted(time.seconds)[len(time.seconds) // 2]
        count = weights.of(time.first, time.last)
        if seconds > 0:
            yield count * NUMBER_BYTES.get(time.precision, 2) / seconds, 2 * count * time.tokens / seconds


def prior_parts(roofline: Roofline, weights: Weights, precision: str, tokens: float, context: float) -> StageParts:
    """The parts of a stage by the roofline, for `tokens` rows against `context` cached tokens each."""
    width = NUMBER_BYTES.get(precision, 2)
    usual = sorted(weights.blocks)[len(weights.blocks) // 2]
    kv_bytes = weights.kv_bytes_per_token * width / 2 * context
    block = _seconds(roofline, usual * width + kv_bytes, 2 * usual * tokens)
    head = _seconds(roofline, weights.head * width, 2 * weights.head)
    overhead = roofline.overhead_seconds
    return StageParts((0.0, 1.0), (overhead, overhead + block), 0.0, head, roofline.relative_error, False)


def _seconds(roofline: Roofline, size_bytes: float, operations: float) -> float:
    return max(size_bytes / roofline.bytes_per_second, operations / roofline.operations_per_second)
