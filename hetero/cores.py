"""Single cores of a CPU as devices of their own: ``cpu-core0`` beside ``cpu``, ``NODE.cpu-core1`` beside ``NODE.cpu``.

Knows names and what a core has of its CPU; `pipeline/serving.py` keeps a stage's process to its cores.
"""

import os
import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from placement.types import Device, DeviceKind

_CORE = re.compile(r"(?P<cpu>.*cpu)-core\d+")


def core_devices(devices: Sequence[Device]) -> tuple[Device, ...]:
    """One device for each core of each CPU, with an even share of its memory."""
    cpus = [device for device in devices if device.kind is DeviceKind.CPU]
    return tuple(_core(cpu, number) for cpu in cpus for number in cpu.cores)


def with_named_cores(devices: Sequence[Device], text: str) -> tuple[Device, ...]:
    """`devices`, and those cores of their CPUs that `text`, a plan, names."""
    known = {device.name for device in devices}
    words = set(re.findall(r"[^\s/@:,]+", text)) - known
    return (*devices, *(core for core in core_devices(devices) if core.name in words))


def whole_cpu(name: str) -> str:
    """The name of the CPU of which `name` is a core; any other name as it is."""
    match = _CORE.fullmatch(name)
    return match["cpu"] if match else name


def own_cores(device: Device) -> tuple[int, ...]:
    """The cores that a stage on `device` must keep to; none where it is not bound to less than this process has."""
    here = os.sched_getaffinity(0)
    return device.cores if device.kind is DeviceKind.CPU and set(device.cores) < here else ()


def keep_to_cores(cores: Sequence[int]) -> None:
    """Bind every thread of this process, and so all that they start, to `cores`."""
    for thread in Path("/proc/self/task").iterdir():
        with suppress(ProcessLookupError):  # it has ended meanwhile
            os.sched_setaffinity(int(thread.name), cores)


def _core(cpu: Device, number: int) -> Device:
    return replace(
        cpu,
        name=f"{cpu.name}-core{number}",
        cores=(number,),
        memory_bytes=cpu.memory_bytes // len(cpu.cores),
        description=f"core {number} of {cpu.name}",
    )
