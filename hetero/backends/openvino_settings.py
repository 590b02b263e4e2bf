"""What each precision means to OpenVINO on each kind of device, and whether a compiled model kept to it.

fp32: weights, arithmetic and KV cache in fp32. bf16: all three in bf16 (AVX512-BF16 or AMX).
fp16: on a GPU or NPU all three in fp16. On a CPU the weights and the KV cache are fp16, which is what limits decoding,
and the arithmetic is fp32: the plugin's fp16 arithmetic gave wrong attention (2026.4, AVX512-FP16), and is no faster.
"""

from dataclasses import dataclass
from typing import Any

import torch

from hetero.backends.base import SliceSpec
from hetero.backends.openvino_devices import engine_device, precisions_of
from hetero.errors import BackendError
from placement.types import DeviceKind


@dataclass(frozen=True, slots=True)
class Precision:
    """`weights` as loaded; `arithmetic` and `cache` in OpenVINO's names of types."""

    weights: torch.dtype
    arithmetic: str
    cache: str


_BY_NAME = {
    "fp32": Precision(torch.float32, "f32", "f32"),
    "bf16": Precision(torch.bfloat16, "bf16", "bf16"),
    "fp16": Precision(torch.float16, "f16", "f16"),
}
_FP16_ON_CPU = Precision(torch.float16, "f32", "f16")


def precision_of(spec: SliceSpec) -> Precision:
    """Raises BackendError where the device lacks the precision; another engine's precisions are not this one's."""
    own = precisions_of(engine_device(spec.device), spec.device.kind)
    known = [name for name in own if name in spec.device.precisions]
    if spec.precision not in known:
        raise BackendError(
            f"{spec.device.name} has no {spec.precision} arithmetic for OpenVINO: choose one of {', '.join(known)}."
        )
    if spec.device.kind is DeviceKind.CPU and spec.precision == "fp16":
        return _FP16_ON_CPU
    return _BY_NAME[spec.precision]


def compile_properties(spec: SliceSpec, precision: Precision) -> dict[str, Any]:
    """Dynamic quantisation is off: results are those of the precision asked for. Threads are not pinned: stages of
    one machine are processes of their own, and each would pin to the same first cores."""
    kind = spec.device.kind
    properties: dict[str, Any] = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": precision.arithmetic}
    if kind is not DeviceKind.NPU:
        properties["DYNAMIC_QUANTIZATION_GROUP_SIZE"] = 0
    if spec.kv is not None and not spec.device.static_shapes:
        properties["KV_CACHE_PRECISION"] = precision.cache
    if kind is DeviceKind.CPU:
        properties |= {"ENABLE_CPU_PINNING": False, "INFERENCE_NUM_THREADS": spec.threads}
    if kind is DeviceKind.CPU and spec.device.static_shapes:
        properties["SNIPPETS_MODE"] = "DISABLE"  # else 2026.4 crashes on attention of one token at a fixed shape
    return properties


def check_honoured(compiled: Any, wanted_device: str, properties: dict[str, Any]) -> str:
    """What the engine says runs where, in words. Raises BackendError where that is not what was asked for."""
    devices = [str(name) for name in compiled.get_property("EXECUTION_DEVICES")]
    if len(devices) != 1 or not f"{devices[0]}.".startswith(f"{wanted_device}."):
        raise BackendError(f"OpenVINO put the slice on {', '.join(devices)} instead of {wanted_device}.")
    kept = {name: _type_name(compiled, name) for name in _TYPES if name in properties}
    for name, found in kept.items():
        if found != properties[name]:
            raise BackendError(f"OpenVINO compiled for {wanted_device} with {name}={found}, not {properties[name]}.")
    return ", ".join([devices[0], *(f"{_TYPES[name]} {found}" for name, found in kept.items())])


_TYPES = {"INFERENCE_PRECISION_HINT": "arithmetic", "KV_CACHE_PRECISION": "KV cache"}


def _type_name(compiled: Any, name: str) -> str:
    return str(compiled.get_property(name).get_type_name())
