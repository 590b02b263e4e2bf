"""What `hetero doctor` finds out: which packages are installed, and which engines really run on which devices.

Each device is tried in earnest: one block of the embedded model is compiled for it, and one token is run.
"""

import platform
import sys
import time
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np

from hetero import __version__
from hetero.backends import backend_names, get_backend
from hetero.backends.base import KvSpec, SliceSpec
from hetero.batch import DecodeBatch
from hetero.devices import engine_devices
from hetero.errors import HeteroError
from hetero.models.source import resolve
from placement import Device, default_precision

_KV = KvSpec(block_count=2, block_tokens=32, max_sequences=1, max_context=32)

# Distribution, what it is for, how to get it. All but the last come with `pip install hetero`.
_PACKAGES = (
    ("ray", "starts and supervises the stages", "pip install 'ray[default]'"),
    ("torch", "engine for CPUs and CUDA GPUs", "pip install torch"),
    ("openvino", "engine for Intel CPUs, GPUs and NPUs", "pip install openvino"),
    ("onnxruntime", "engine for CPUs and NPUs", "pip install onnxruntime"),
    ("onnx", "writes the graphs for onnxruntime", "pip install onnx"),
    ("pyzmq", "carries hidden states between stages", "pip install pyzmq"),
    ("grpcio", "the server and its client", "pip install grpcio grpcio-health-checking grpcio-reflection"),
    ("transformers", "reads older tokenizer files", "pip install transformers"),
    ("tokenizers", "text to tokens and back", "pip install tokenizers"),
    ("safetensors", "reads weights", "pip install safetensors"),
    ("onnxruntime-qnn", "Qualcomm's NPU, or its emulator", "pip install 'hetero[npu]'"),
)
_OPTIONAL = frozenset({"onnxruntime-qnn"})


@dataclass(frozen=True, slots=True)
class Package:
    """One package; `version` is None where it is missing, and then `remedy` is the command that installs it."""

    name: str
    purpose: str
    version: str | None
    needed: bool
    remedy: str


@dataclass(frozen=True, slots=True)
class Trial:
    """One engine on one device: how long a block took to compile and a token to run, or why it did not."""

    device: str
    engine: str
    precision: str
    emulated: bool
    compile_seconds: float = 0.0
    run_seconds: float = 0.0
    error: str | None = None


def machine() -> dict[str, str]:
    """What this runs on."""
    return {
        "hetero": __version__,
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "executable": sys.executable,
    }


def packages() -> tuple[Package, ...]:
    """Every package that matters, installed or not."""
    return tuple(Package(name, use, _version(name), name not in _OPTIONAL, fix) for name, use, fix in _PACKAGES)


def trials() -> tuple[Trial, ...]:
    """Try every engine on every device that it says it drives."""
    folder = resolve("tiny")
    return tuple(_try(folder, engine, device) for engine in backend_names() for device in engine_devices(engine))


def advice(found: tuple[Package, ...], tried: tuple[Trial, ...]) -> tuple[str, ...]:
    """What is missing and how to get it, a sentence each."""
    missing = [f"{package.name} is missing: {package.remedy}" for package in found if package.version is None]
    broken = [f"{trial.engine} does not run on {trial.device}: {trial.error}" for trial in tried if trial.error]
    unseen = []
    if Path("/dev/nvidiactl").exists() and not any(trial.device.startswith("gpu") for trial in tried):
        unseen.append("there is an NVIDIA GPU that no engine drives: install the CUDA build of torch from pytorch.org")
    if Path("/dev/accel/accel0").exists() and all(trial.emulated for trial in tried if trial.device == "npu"):
        unseen.append("there is an NPU that no engine drives: install its maker's user-space driver")
    return (*missing, *broken, *unseen)


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _try(folder: Path, engine: str, device: Device) -> Trial:
    precision = default_precision(device)
    trial = (device.name, engine, precision, device.emulated)
    try:
        compile_seconds, run_seconds = _compile_and_run(SliceSpec(folder, 0, 1, device, precision, kv=_KV), engine)
    except Exception as error:  # whatever goes wrong is what was asked for
        return Trial(*trial, error=" ".join(str(error).split()) or type(error).__name__)
    return Trial(*trial, compile_seconds, run_seconds)


def _compile_and_run(spec: SliceSpec, engine: str) -> tuple[float, float]:
    started_at = time.perf_counter()
    compiled = get_backend(engine).compile(spec)
    compiled_at = time.perf_counter()
    try:
        hidden = compiled.run(_one_token(), None)
        if not np.isfinite(hidden).all():
            raise HeteroError("it computes numbers that are not finite")
        return compiled_at - started_at, time.perf_counter() - compiled_at
    finally:
        compiled.close()


def _one_token() -> DecodeBatch:
    def ints(*values: int) -> np.ndarray[tuple[int, ...], np.dtype[np.int32]]:
        return np.array(values, np.int32)

    return DecodeBatch(
        batch_id=0,
        token_ids=np.array([1]),
        positions=np.array([0]),
        past_lens=ints(0),
        begins=ints(0, 1),
        block_indices=ints(0),
        block_begins=ints(0, 1),
        slots=ints(0),
        sample_rows=np.array([], np.int64),
        sampling=(),
    )
