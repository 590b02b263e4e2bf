"""What ONNX Runtime can drive on this machine: its execution providers and plugins, as devices of the runtime.

Knows providers, their packages and options, and which NPU is real and which is an emulation; knows no models.
"""

import ctypes
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import psutil

from hetero.errors import BackendError
from placement.types import Device, DeviceKind

CPU, CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"
QNN, OPENVINO = "QNNExecutionProvider", "OpenVINOExecutionProvider"

#: What to install for a device that is not listed.
PACKAGES = {
    "gpu": "onnxruntime-gpu (in place of onnxruntime), for a CUDA device",
    "npu": "onnxruntime-qnn (Qualcomm, or its emulator on Linux x86-64) or onnxruntime-ep-openvino (Intel)",
}

#: The emulator must be told which chip it is: the Snapdragon X Elite (SC8380XP, number 60 in QnnTypes.h, HTP v73).
EMULATED_CHIP = {"soc_model": "60", "htp_arch": "73"}


@dataclass(frozen=True, slots=True)
class Provider:
    """One device as a provider drives it. `handle` is the plugin's own device, None for built-in providers."""

    name: str
    device: Device
    options: dict[str, str] = field(default_factory=dict)
    handle: Any = None


def find_providers() -> tuple[Provider, ...]:
    """Every device that ONNX Runtime drives here, one provider a device; a real NPU goes before an emulated one."""
    import onnxruntime

    onnxruntime.set_default_logger_severity(3)  # errors only
    found = [Provider(CPU, _cpu()), *_cuda_devices(), *_openvino_npus(), *_qnn_npus()]
    by_name: dict[str, Provider] = {}
    for provider in found:
        by_name.setdefault(provider.device.name, provider)
    return tuple(by_name.values())


def provider_of(device: Device) -> Provider:
    """The provider for a device of a plan; on another node's name (``NODE.cpu``) the part behind the dot counts.

    Raises BackendError, naming the package to install, where no provider drives it here.
    """
    name = device.name.rpartition(".")[2]
    for provider in find_providers():
        if provider.device.name == name:
            return provider
    known = ", ".join(provider.device.name for provider in find_providers())
    package = PACKAGES.get(device.kind.value, "onnxruntime")
    raise BackendError(f"ONNX Runtime drives no device '{device.name}' here, only {known}: install {package}.")


def _free_bytes() -> int:
    return int(psutil.virtual_memory().available)


def _cpu() -> Device:
    name = platform.processor() or platform.machine()
    return Device("cpu", DeviceKind.CPU, ("onnx",), ("fp32",), _free_bytes(), name)


def _cuda_devices() -> Iterator[Provider]:
    import onnxruntime

    if CUDA not in onnxruntime.get_available_providers():
        return
    for index, (name, free) in enumerate(_nvidia_gpus()):
        device = Device(f"gpu{index}", DeviceKind.GPU, ("onnx",), ("fp16", "fp32"), free, name)
        # TF32 would round fp32's factors to 10 bits.
        yield Provider(CUDA, device, {"device_id": str(index), "use_tf32": "0"})


def _nvidia_gpus() -> list[tuple[str, int]]:
    """(name, free bytes) of each GPU that the driver's own tool lists."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return []
    query = [tool, "--query-gpu=name,memory.free", "--format=csv,noheader,nounits"]
    answer = subprocess.run(query, capture_output=True, text=True, check=False, timeout=30)
    rows = [line.rsplit(",", 1) for line in answer.stdout.splitlines()] if answer.returncode == 0 else []
    return [(name.strip(), int(free) << 20) for name, free in rows]


def _plugin(package: str, provider: str, library: str) -> list[Any]:
    """The plugin's devices; none where its package is absent. A process registers a plugin once."""
    import onnxruntime

    if find_spec(package) is None:
        return []
    listed = [device for device in onnxruntime.get_ep_devices() if device.ep_name == provider]
    if not listed:
        onnxruntime.register_execution_provider_library(provider, library)
        listed = [device for device in onnxruntime.get_ep_devices() if device.ep_name == provider]
    return listed


def _is_npu(handle: Any) -> bool:
    import onnxruntime

    return bool(handle.device.type == onnxruntime.OrtHardwareDeviceType.NPU)


def _openvino_npus() -> Iterator[Provider]:
    """Intel's NPU. The plugin's CPU and GPU devices are left to the `openvino` engine, which drives them directly."""
    if find_spec("onnxruntime_ep_openvino") is None:
        return
    library = import_module("onnxruntime_ep_openvino").get_library_path()
    for handle in _plugin("onnxruntime_ep_openvino", OPENVINO, library):
        if _is_npu(handle):
            name = handle.ep_metadata.get("FULL_DEVICE_NAME", "Intel NPU")
            yield Provider(OPENVINO, _npu(name, emulated=False), {}, handle)


def _qnn_npus() -> Iterator[Provider]:
    """Qualcomm's HTP. Its library for x86-64 is an emulator, and the plugin offers it under the host's CPU."""
    if find_spec("onnxruntime_qnn") is None:
        return
    package = import_module("onnxruntime_qnn")
    htp = package.get_qnn_htp_path()
    handles = sorted(_plugin("onnxruntime_qnn", QNN, package.get_library_path()), key=_is_npu)
    if not handles or not os.path.exists(htp):
        return
    handle = handles[-1]
    emulated = not _is_npu(handle) and platform.machine().lower() in ("x86_64", "amd64")
    _load_quietly(htp)
    options = {"backend_path": htp, **(EMULATED_CHIP if emulated else {})}
    text = (
        "Qualcomm Hexagon HTP v73 of a Snapdragon X Elite (emulated on this CPU: for tests, not for speed)"
        if emulated
        else "Qualcomm HTP"
    )
    yield Provider(QNN, _npu(text, emulated), options, handle)


def _npu(description: str, emulated: bool) -> Device:
    return Device("npu", DeviceKind.NPU, ("onnx",), ("fp16",), _free_bytes(), description, emulated, static_shapes=True)


@cache
def _load_quietly(library: str) -> None:
    """Load a shared library whose start-up prints a notice on standard output, which belongs to results alone."""
    with _standard_output_aside():
        ctypes.CDLL(library)


@contextmanager
def _standard_output_aside() -> Iterator[None]:
    """Standard output goes nowhere meanwhile, for C code too. A process that has none stays as it is."""
    try:
        kept = os.dup(1)
    except OSError:
        yield
        return
    if sys.stdout is not None:
        sys.stdout.flush()
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    try:
        yield
    finally:
        os.dup2(kept, 1)
        os.close(kept)
        os.close(nowhere)
