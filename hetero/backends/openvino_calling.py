"""Calls a compiled model: arrays in as the engine shares them, its failures out as BackendError.

Knows requests and arrays; knows no models.
"""

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hetero.errors import BackendError


def infer(request: Any, inputs: Iterable[tuple[Any, NDArray[Any]]]) -> None:
    """Set each port's value, without copying it where that can be, and run. Raises BackendError if the engine fails."""
    import openvino as ov

    try:
        for port, value in inputs:
            request.set_tensor(port, ov.Tensor(owned_array(value), shared_memory=value.ndim > 0))
        request.infer()
    except RuntimeError as error:
        raise BackendError(f"OpenVINO failed on a batch: {first_cause(error)}") from error


def owned_array(value: NDArray[Any]) -> NDArray[Any]:
    """`value` as the engine shares it: contiguous and writable. What came over a link is read-only and is copied."""
    return np.require(value, requirements=["C", "W"])


def first_cause(error: Exception) -> str:
    """OpenVINO's messages are traces of C++ checks; the innermost line that is not a place in a file says why."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    reasons = [line for line in lines if not line.startswith(("Exception from", "Check '", "src/", "/"))]
    return (reasons or lines or [type(error).__name__])[-1]
