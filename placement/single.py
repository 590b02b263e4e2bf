"""The best single device for a model: the one that holds all of it, GPU before NPU before CPU, never an emulated one.

Knows bytes only; it has not measured how fast a device is.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from placement.errors import PlacementError
from placement.plans import default_precision
from placement.types import Device, DeviceKind, Layer, Plan, Stage

_ORDER = (DeviceKind.GPU, DeviceKind.NPU, DeviceKind.CPU)
_NUMBER_BYTES = {"fp32": 4, "bf16": 2, "fp16": 2}


@dataclass(frozen=True, slots=True)
class Demand:
    """What a whole model asks of one device: how many weights it has, and the bytes of its KV cache."""

    block_count: int
    weight_count: int
    kv_bytes: int

    def bytes_at(self, precision: str) -> int:
        """Bytes of weights and KV cache when the weights are kept in `precision`."""
        return self.weight_count * _NUMBER_BYTES[precision] + self.kv_bytes


def demand_of(layers: Sequence[Layer], stored_bytes_per_weight: int, end_bytes: int, kv_tokens: int) -> Demand:
    """Add up `layers`, the embedding and head (`end_bytes`, as stored), and a KV cache of `kv_tokens` tokens."""
    stored_bytes = sum(layer.weight_bytes for layer in layers) + end_bytes
    kv_bytes = sum(layer.kv_bytes_per_token for layer in layers) * kv_tokens
    return Demand(len(layers), stored_bytes // stored_bytes_per_weight, kv_bytes)


def single_device_plan(devices: Sequence[Device], demand: Demand, precision: str | None = None) -> Plan:
    """Put every block on the best device that is real, computes in `precision` and has the memory.

    Raises PlacementError where there is none.
    """
    able = [device for device in devices if _is_able(device, demand, precision)]
    if not able:
        raise PlacementError(_no_device(devices, demand, precision))
    best = min(able, key=_preference)
    stage = Stage(best, best.engines[0], 0, demand.block_count, precision or default_precision(best))
    return Plan((stage,), _reason(best, stage.precision, devices, demand))


def _is_able(device: Device, demand: Demand, precision: str | None) -> bool:
    if device.emulated or (precision is not None and precision not in device.precisions):
        return False
    return demand.bytes_at(precision or default_precision(device)) <= device.memory_bytes


def _preference(device: Device) -> tuple[int, bool, int]:
    """Kind first, then this machine before another node (whose devices have a dot in their names), then memory."""
    return _ORDER.index(device.kind), "." in device.name, -device.memory_bytes


def _reason(best: Device, precision: str, devices: Sequence[Device], demand: Demand) -> str:
    emulated = ", ".join(device.name for device in devices if device.emulated)
    aside = f"; {emulated} is left out because it is emulated" if emulated else ""
    return (
        f"all {demand.block_count} blocks fit on {best.name}"
        f" ({_mebibytes(demand.bytes_at(precision))} of its {_mebibytes(best.memory_bytes)}),"
        f" the best single device here{aside}"
    )


def _no_device(devices: Sequence[Device], demand: Demand, precision: str | None) -> str:
    real = [device for device in devices if not device.emulated]
    known = ", ".join(f"{device.name} has {_mebibytes(device.memory_bytes)}" for device in real)
    asked = f" in {precision}" if precision else ""
    needed = _mebibytes(demand.bytes_at(precision or "fp16"))
    return (
        f"no single device holds the model{asked}: it needs {needed} and {known or 'there is no device'};"
        " cut it with --plan, or give a shorter --context"
    )


def _mebibytes(count: int) -> str:
    return f"{count / 2**20:,.0f} MiB"
