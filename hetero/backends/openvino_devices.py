"""The devices that OpenVINO's runtime sees here, in our names, and which of its devices each name is.

Knows no models. A GPU that OpenVINO drives is Intel's; they are counted by themselves: gpu0, gpu1, ...
"""

import re
from functools import cache
from typing import Any

import psutil

from hetero.errors import BackendError
from placement.types import Device, DeviceKind

_CAPABILITY_OF = {"fp32": "FP32", "bf16": "BF16", "fp16": "FP16"}


@cache
def core() -> Any:
    """The process's one `openvino.Core`."""
    import openvino as ov

    return ov.Core()


def list_devices() -> tuple[Device, ...]:
    """Every CPU, GPU and NPU that OpenVINO reports, with what it says of each."""
    found = (_device(engine_name) for engine_name in core().available_devices)
    return tuple(device for device in found if device is not None)


def engine_device(device: Device) -> str:
    """OpenVINO's name of our device, on whichever node it is, of all CPUs and of their cores: the process's own CPU.

    Raises BackendError where OpenVINO does not see the device.
    """
    local = "cpu" if device.kind is DeviceKind.CPU else device.name.rpartition(".")[2]
    for engine_name in core().available_devices:
        if _our_name(engine_name) == local:
            return str(engine_name)
    seen = ", ".join(core().available_devices)
    raise BackendError(f"OpenVINO sees no device {device.name} here, only {seen}: check the device's driver.")


def _our_name(engine_name: str) -> str | None:
    """CPU: cpu; GPU, GPU.0: gpu0; GPU.1: gpu1; NPU: npu. None for what is no device of its own."""
    match = re.fullmatch(r"(CPU|GPU|NPU)(?:\.(\d+))?", engine_name)
    if match is None:
        return None
    kind, number = match[1].lower(), match[2]
    return f"gpu{number or 0}" if kind == "gpu" else kind + (number if number not in (None, "0") else "")


def _device(engine_name: str) -> Device | None:
    name = _our_name(engine_name)
    if name is None:
        return None
    kind = DeviceKind(re.sub(r"\d", "", name))
    return Device(
        name=name,
        kind=kind,
        engines=("openvino",),
        precisions=precisions_of(engine_name, kind),
        memory_bytes=_memory_bytes(engine_name, kind),
        description=str(core().get_property(engine_name, "FULL_DEVICE_NAME")),
        static_shapes=kind is DeviceKind.NPU,
    )


def precisions_of(engine_name: str, kind: DeviceKind) -> tuple[str, ...]:
    """A CPU takes fp16 weights whatever its arithmetic; an NPU computes in fp16 alone."""
    if kind is DeviceKind.NPU:
        return ("fp16",)
    able = core().get_property(engine_name, "OPTIMIZATION_CAPABILITIES")
    always = ("fp32", "fp16") if kind is DeviceKind.CPU else ("fp32",)
    return tuple(name for name, word in _CAPABILITY_OF.items() if name in always or word in able)


def _memory_bytes(engine_name: str, kind: DeviceKind) -> int:
    if kind is DeviceKind.GPU:
        return int(core().get_property(engine_name, "GPU_DEVICE_TOTAL_MEM_SIZE"))
    if kind is DeviceKind.NPU:
        return int(core().get_property(engine_name, "NPU_DEVICE_TOTAL_MEM_SIZE"))
    return int(psutil.virtual_memory().available)
