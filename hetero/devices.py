"""The devices of this machine: what each engine says it drives, merged by name.

Knows no cluster (`cluster.py` runs this on every node) and no plan.
"""

import os
from collections.abc import Iterable
from dataclasses import replace

from hetero.backends import backend_names, get_backend
from hetero.errors import BackendError
from placement.types import Device, DeviceKind

_KIND_ORDER = (DeviceKind.CPU, DeviceKind.GPU, DeviceKind.NPU)
_ENGINE_ORDER = {
    DeviceKind.CPU: ("openvino", "torch", "onnx"),
    DeviceKind.GPU: ("torch", "openvino", "onnx"),
    DeviceKind.NPU: ("openvino", "onnx"),
}


def local_devices() -> tuple[Device, ...]:
    """Every device of this machine, CPUs first, each with all engines that drive it, the preferred first."""
    return merge_devices(device for name in backend_names() for device in engine_devices(name))


def engine_devices(engine: str) -> tuple[Device, ...]:
    """What one engine drives here: nothing where it is not installed, which `hetero doctor` tells how to change."""
    try:
        return get_backend(engine).devices()
    except BackendError:
        return ()


def merge_devices(found: Iterable[Device]) -> tuple[Device, ...]:
    """Join devices of one name. A real device displaces an emulated one; the two are never joined."""
    by_name: dict[str, list[Device]] = {}
    for device in found:
        by_name.setdefault(device.name, []).append(device)
    merged = (_join(same) for same in by_name.values())
    return tuple(sorted(merged, key=lambda device: (_KIND_ORDER.index(device.kind), device.name)))


def _join(same: list[Device]) -> Device:
    real = [device for device in same if not device.emulated]
    parts = sorted(real or same, key=_engine_rank)
    return replace(
        parts[0],
        engines=_distinct(engine for part in parts for engine in part.engines),
        precisions=_distinct(precision for part in parts for precision in part.precisions),
        memory_bytes=min(part.memory_bytes for part in parts),
        cores=_cores(parts[0]),
    )


def _cores(device: Device) -> tuple[int, ...]:
    """The cores of a CPU that this process may use, where its engine does not say."""
    return device.cores or (tuple(sorted(os.sched_getaffinity(0))) if device.kind is DeviceKind.CPU else ())


def _engine_rank(device: Device) -> int:
    order = _ENGINE_ORDER[device.kind]
    return order.index(device.engines[0]) if device.engines[0] in order else len(order)


def _distinct(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(names))
