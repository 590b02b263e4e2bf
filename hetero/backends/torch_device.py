"""What torch drives on this machine, and what it says of itself: devices, precisions, memory, failures.

Knows torch's devices; knows no models.
"""

import platform
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import psutil
import torch
from torch import Tensor, nn

from hetero.backends.base import SliceReport, SliceSpec
from hetero.errors import BackendError
from placement.types import Device, DeviceKind

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
_NAMES = {dtype: name for name, dtype in DTYPES.items()}


@dataclass(frozen=True, slots=True)
class Target:
    """Where and in what a slice computes; `started_seconds` by perf_counter, when its making began."""

    device: torch.device
    dtype: torch.dtype
    started_seconds: float


def find_devices() -> tuple[Device, ...]:
    """The CPU and every CUDA device, by the names that plans use."""
    return (_cpu(), *(_gpu(index) for index in range(torch.cuda.device_count())))


def _cpu() -> Device:
    free, name = psutil.virtual_memory().available, platform.processor() or platform.machine()
    return Device("cpu", DeviceKind.CPU, ("torch",), tuple(DTYPES), free, name)


def _gpu(index: int) -> Device:
    free, _ = torch.cuda.mem_get_info(index)
    bf16 = torch.cuda.get_device_capability(index) >= (8, 0)
    precisions = ("fp16", "bf16", "fp32") if bf16 else ("fp16", "fp32")
    return Device(f"gpu{index}", DeviceKind.GPU, ("torch",), precisions, free, torch.cuda.get_device_name(index))


def resolve(spec: SliceSpec) -> Target:
    """The target of a slice; bounds torch's threads in this process. Raises BackendError, never takes another one."""
    started = time.perf_counter()
    name = spec.device.name.rpartition(".")[2]
    found = {device.name: device for device in find_devices()}
    if name not in found:
        raise BackendError(
            f"torch drives no device '{spec.device.name}' here, only {', '.join(found)}: "
            "choose one of these, or install torch for that device."
        )
    precisions = found[name].precisions
    if spec.precision not in precisions:
        raise BackendError(
            f"torch computes in {', '.join(precisions)} on {name}, not in '{spec.precision}': ask for @{precisions[0]}."
        )
    if spec.threads:
        torch.set_num_threads(spec.threads)
    device = torch.device("cpu") if name == "cpu" else torch.device("cuda", int(name.removeprefix("gpu")))
    return Target(device, DTYPES[spec.precision], started)


def make_report(modules: list[nn.Module], caches: list[Tensor], target: Target) -> SliceReport:
    """Device and precision as the loaded tensors themselves have them. Raises BackendError where they differ."""
    parameters = [parameter for module in modules for parameter in module.parameters()]
    held = {(tensor.device, tensor.dtype) for tensor in [*parameters, *caches]}
    if held != {(target.device, target.dtype)}:
        raise BackendError(
            f"torch holds the slice as {sorted(map(str, held))}, not on {target.device} "
            f"in {target.dtype} as asked: choose another engine."
        )
    return SliceReport(
        engine="torch",
        engine_version=str(torch.__version__),
        device=_describe(parameters[0].device),
        precision=_NAMES[parameters[0].dtype],
        weight_bytes=sum(parameter.nbytes for parameter in parameters),
        kv_bytes=sum(cache.nbytes for cache in caches),
        compile_seconds=time.perf_counter() - target.started_seconds,
    )


def _describe(device: torch.device) -> str:
    return str(device) if device.type == "cpu" else f"{device} ({torch.cuda.get_device_name(device)})"


@contextmanager
def telling(what: str, device: str) -> Iterator[None]:
    """Turns torch's failures into one BackendError that says what could not be done."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise BackendError(_no_memory(what, device)) from error
    except (RuntimeError, IndexError, MemoryError) as error:
        if isinstance(error, MemoryError) or "can't allocate memory" in str(error):
            raise BackendError(_no_memory(what, device)) from error
        raise BackendError(f"torch could not {what} on {device}: {str(error).splitlines()[0]}.") from error


def _no_memory(what: str, device: str) -> str:
    return f"{device} has not the memory to {what} with torch: give it fewer blocks, fewer KV blocks or less precision."
