"""The engines by name; each is imported when it is first asked for, so that an absent one breaks nothing else."""

from functools import cache
from importlib import import_module

from hetero.backends.base import Backend
from hetero.errors import BackendError

_MODULES = {
    "openvino": "hetero.backends.openvino_",
    "torch": "hetero.backends.torch_",
    "onnx": "hetero.backends.onnx_",
}


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
