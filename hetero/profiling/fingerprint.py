"""For what a profile holds: which model, which machine, which versions; so that it is never used for another.

Knows files' heads, the machine's processors and packages' versions; knows nothing of what was measured.
"""

import hashlib
import os
import platform
import re
from collections.abc import Sequence
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import psutil

from hetero import __version__
from hetero.cores import whole_cpu
from placement import Device, DeviceKind
from placement.profiles import Fingerprint

_ENGINES = ("torch", "openvino", "onnxruntime", "onnxruntime-qnn")
#: Of each file of weights so many bytes are read: they hold the names, types and places of all its tensors.
_HEAD_BYTES = 1 << 16


def fingerprint(folder: Path, devices: Sequence[Device]) -> Fingerprint:
    """The fingerprint of a model's folder on the machines that own `devices`; single cores are not counted."""
    return Fingerprint(_model(folder), _machine(devices), _versions())


def _model(folder: Path) -> str:
    found = hashlib.sha256((folder / "config.json").read_bytes())
    for file in sorted(file for file in folder.glob("*.safetensors") if file.is_file()):
        found.update(f"{file.name}:{file.stat().st_size}".encode())
        with file.open("rb") as opened:
            found.update(opened.read(_HEAD_BYTES))
    return found.hexdigest()[:16]


def _machine(devices: Sequence[Device]) -> str:
    """The processor, cores and memory of this machine, and the devices that were found, in words."""
    memory = round(psutil.virtual_memory().total / 2**30)
    names = ", ".join(_name(device) for device in devices if whole_cpu(device.name) == device.name)
    return f"{_processor()}, {len(os.sched_getaffinity(0))} cores, {memory} GiB; {names}"


def _name(device: Device) -> str:
    engines = "+".join(device.engines)
    if device.kind is DeviceKind.CPU:
        return f"{device.name} ({engines})"
    return f"{device.name} ({device.description}; {engines})"


def _processor() -> str:
    """Name, model and stepping, as Linux tells them."""
    told = Path("/proc/cpuinfo").read_text(encoding="utf-8").partition("\n\n")[0]
    found = dict(re.findall(r"^(model name|model|stepping)\s*: (.*)$", told, re.MULTILINE))
    return " ".join(word for word in (found.get("model name"), found.get("model"), found.get("stepping")) if word)


def _versions() -> tuple[tuple[str, str], ...]:
    found = {"hetero": __version__, "python": platform.python_version()}
    for name in _ENGINES:
        with suppress(PackageNotFoundError):
            found[name] = version(name)
    return tuple(sorted(found.items()))
