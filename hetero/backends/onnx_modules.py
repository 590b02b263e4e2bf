"""How the model's torch modules are written down as ONNX operators that engines compute well.

Knows operators; knows no provider. The exporter's own translation of a bias-free linear layer stores a transposed copy
of the weights, and that of an RMS norm squares in fp16: both are replaced by one operator each.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import Function

from hetero.models.decoder import RmsNorm


class _Gemm(Function):
    """x [T, in] times weight [out, in] transposed: ONNX Gemm, whose weight keeps the checkpoint's layout."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        return torch.nn.functional.linear(x, weight, bias)

    @staticmethod
    def symbolic(g: Any, x: Any, weight: Any, bias: Any) -> Any:
        operands = [x, weight] if bias is None else [x, weight, bias]
        return g.op("Gemm", *operands, transB_i=1)


class _RmsNormalization(Function):
    """ONNX Runtime's fused RMS norm, which sums squares in fp32 also where the rest is fp16.

    Heads [T, H, hs] are normalised as flat rows of `size` = hs (0: rows are flat): of three dimensions, Qualcomm's HTP
    computes only the first 8 rows right.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, epsilon: float, size: int) -> Tensor:
        return x * torch.rsqrt(x.float().pow(2).mean(-1, keepdim=True) + epsilon).to(x.dtype) * weight

    @staticmethod
    def symbolic(g: Any, x: Any, weight: Any, epsilon: float, size: int) -> Any:
        flat = x if size == 0 else _Reshape.symbolic(g, x, (-1, size))
        normed = g.op("SimplifiedLayerNormalization", flat, weight, epsilon_f=epsilon, axis_i=-1)
        return (normed if size == 0 else g.op("Reshape", normed, g.op("Shape", x))).setType(x.type())


class _Reshape(Function):
    """Reshape with ONNX's 0 for "as before": no shape is computed in the graph, so none of it runs on the host."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, shape: tuple[int, ...]) -> Tensor:
        return x.reshape([x.shape[i] if size == 0 else size for i, size in enumerate(shape)])

    @staticmethod
    def symbolic(g: Any, x: Any, shape: tuple[int, ...]) -> Any:
        return g.op("Reshape", x, g.op("Constant", value_t=torch.tensor(shape)))


def reshape(x: Tensor, *shape: int) -> Tensor:
    """`x` in a new shape, where 0 keeps that dimension and -1 takes what remains."""
    return _Reshape.apply(x, shape)  # type: ignore[no-any-return, no-untyped-call]


class _OnnxLinear(nn.Module):
    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.weight, self.bias = linear.weight, linear.bias

    def forward(self, x: Tensor) -> Tensor:
        return _Gemm.apply(x, self.weight, self.bias)  # type: ignore[no-any-return, no-untyped-call]


class _OnnxRmsNorm(nn.Module):
    def __init__(self, norm: RmsNorm) -> None:
        super().__init__()
        self.weight, self.epsilon, self.size = norm.weight, norm.epsilon, len(norm.weight)

    def forward(self, x: Tensor) -> Tensor:
        size = 0 if x.dim() == 2 else self.size
        return _RmsNormalization.apply(x, self.weight, self.epsilon, size)  # type: ignore[no-any-return, no-untyped-call]


def use_onnx_operators(module: nn.Module) -> nn.Module:
    """Replace, in place, the linear layers and RMS norms of a module on flat rows [T, D]; weights are shared."""
    for name, child in module.named_children():
        if isinstance(child, nn.Linear):
            setattr(module, name, _OnnxLinear(child))
        elif isinstance(child, RmsNorm):
            setattr(module, name, _OnnxRmsNorm(child))
        else:
            use_onnx_operators(child)
    return module
