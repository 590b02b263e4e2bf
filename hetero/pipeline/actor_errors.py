"""Turns what Ray raises about a stage's actor into the runtime's own errors, one sentence each.

Knows Ray's exceptions; knows neither sockets nor plans.
"""

from ray.exceptions import ActorDiedError, ActorUnschedulableError, RayError, RayTaskError

from hetero.errors import BackendError, ConfigurationError, HeteroError
from placement.errors import PlacementError


def start_error(label: str, error: RayError) -> Exception:
    """Why a stage did not start: its own error if it raised one of ours, else one that names the stage."""
    if isinstance(error, RayTaskError):
        return _raised(label, error.cause)
    if isinstance(error, ActorUnschedulableError):
        return ConfigurationError(f"{label} cannot be placed: its node has left the cluster or lacks what it asks for")
    if isinstance(error, ActorDiedError) and "ModuleNotFoundError" in str(error):
        return ConfigurationError(f"{label} cannot import this package on its node; install hetero there")
    return BackendError(f"{label} died while it started ({reason(error)}); too little memory is the usual cause")


def _raised(label: str, cause: BaseException) -> Exception:
    if isinstance(cause, HeteroError | PlacementError):
        return cause
    return BackendError(f"{label} failed to start: {type(cause).__name__}: {cause}")


def reason(error: BaseException) -> str:
    """Ray's account of a death in one line."""
    if isinstance(error, RayTaskError):
        return f"{type(error.cause).__name__}: {error.cause}"
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    told = [line for line in lines if "exit type" in line.lower() or "exit detail" in line.lower()]
    return (told or lines or [type(error).__name__])[-1].rstrip(".")
