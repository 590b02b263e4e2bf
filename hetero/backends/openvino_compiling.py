"""Compiles a converted model for a device, checks the engine's own account of it, and writes the slice's report.

Knows devices and settings; knows nothing of what the model is.
"""

import time
from dataclasses import dataclass
from typing import Any

from torch import nn

from hetero.backends.base import SliceReport, SliceSpec
from hetero.backends.openvino_calling import first_cause
from hetero.backends.openvino_devices import core, engine_device
from hetero.backends.openvino_settings import Precision, check_honoured, compile_properties
from hetero.errors import BackendError


@dataclass(frozen=True, slots=True)
class Compiled:
    """A model loaded on a device. `account`: what the engine says it runs on and computes in."""

    model: Any
    account: str


def compile_model(model: Any, spec: SliceSpec, precision: Precision) -> Compiled:
    """Raises BackendError where the device refuses the model, or the engine does not do what was asked for."""
    device = engine_device(spec.device)
    properties = compile_properties(spec, precision)
    try:
        compiled = core().compile_model(model, device, properties)
    except RuntimeError as error:
        raise BackendError(f"OpenVINO cannot compile the slice for {device}: {first_cause(error)}") from error
    return Compiled(compiled, check_honoured(compiled, device, properties))


def weight_bytes(*modules: nn.Module | None) -> int:
    """Bytes of the modules' parameters as loaded. Read before conversion, which swaps them for placeholders."""
    return sum(parameter.nbytes for module in modules if module is not None for parameter in module.parameters())


def make_report(compiled: Compiled, spec: SliceSpec, weights: int, kv_bytes: int, started: float) -> SliceReport:
    """`started`: `time.perf_counter` seconds when the slice began to load."""
    import openvino

    return SliceReport(
        engine="openvino",
        engine_version=str(openvino.__version__),
        device=compiled.account,
        precision=spec.precision,
        weight_bytes=weights,
        kv_bytes=kv_bytes,
        compile_seconds=time.perf_counter() - started,
    )
