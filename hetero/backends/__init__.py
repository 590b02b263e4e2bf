"""The engines by name; each is imported when it is first asked for, so that an absent one breaks nothing else."""

import os
import sys
from functools import cache
from importlib import import_module

from hetero.backends.base import Backend
from hetero.errors import BackendError

_MODULES = {
    "openvino": "hetero.backends.openvino_",
    "torch": "hetero.backends.torch_",
    "onnx": "hetero.backends.onnx_",
}


def _send_nothing() -> None:
    """Keep engines from telling their makers what runs here, which they do unless that is said before their import.

    ONNX Runtime tells names and hashes of models; ``ORT_DISABLE_TELEMETRY=0`` in the environment lets it. OpenVINO
    counts imports and has no such switch: where this module cannot be imported, its own stand-in takes its place.
    """
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]  # None: importing it fails


_send_nothing()


def backend_names() -> tuple[str, ...]:
    """Every engine that the runtime knows, the preferred first; whether it is installed is another question."""
    return tuple(_MODULES)


@cache
def get_backend(name: str) -> Backend:
    """The engine called `name`. Raises BackendError where it is unknown or its library is not installed."""
    if name not in _MODULES:
        raise BackendError(f"There is no engine '{name}': use one of {', '.join(_MODULES)}.")
    try:
        backend: Backend = import_module(_MODULES[name]).backend()
    except ImportError as error:
        raise BackendError(f"The engine '{name}' cannot be loaded ({error}): install its package.") from error
    return backend
