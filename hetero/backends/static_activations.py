"""Activations in the forms that an NPU's fp16 computes well.

Knows formulas and the modules that hold an activation; knows no engine. Qualcomm's HTP fuses a sigmoid or a GELU with
the matrix product before it and then reads a coarse table (relative error 4e-3, measured); the forms here are not
fused, and stay within 1e-3.
"""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hetero.models.decoder import ACTIVATIONS


def silu(x: Tensor) -> Tensor:
    """x * sigmoid(x), by sigmoid(x) = (1 + tanh(x / 2)) / 2."""
    half = 0.5 * x
    return half * torch.tanh(half) + half


def gelu(x: Tensor) -> Tensor:
    """Exact GELU. The clamp changes no value that matters; it stands between the GELU and the product before it."""
    return F.gelu(torch.clamp(x, -30000.0, 30000.0))


def gelu_tanh(x: Tensor) -> Tensor:
    """GELU's approximation by tanh (Hendrycks and Gimpel 2016, section 2), constants multiplied out."""
    half = 0.5 * x
    return half * torch.tanh(x * (0.035677408 * x * x + 0.79788456)) + half


_FORMS: dict[str, Callable[[Tensor], Tensor]] = {
    "silu": silu,
    "gelu": gelu,
    "gelu_new": gelu_tanh,
    "gelu_pytorch_tanh": gelu_tanh,
}


def use_static_activations(module: nn.Module) -> None:
    """Replace, in place, the activations of every block of the module by the forms above."""
    replaced = {ACTIVATIONS[name]: form for name, form in _FORMS.items()}
    for child in module.modules():
        held: Any = getattr(child, "activation", None)
        if held in replaced:
            child.activation = replaced[held]  # type: ignore[assignment]  # a plain function, no module
