"""Realises a decoder's attention marker by OpenVINO's PagedAttention operator.

Knows the operator's inputs; knows neither models' weights nor devices. The input list belongs to OpenVINO 2026.4 and
is checked by the tests: after the nine inputs that change from step to step come the scale, the sliding window and
switches of features that are off here (alibi, score aggregation, cache rotation, sparse attention, eviction, sinks,
image regions, ...), each an empty constant. The CPU's plugin takes every head size, small and odd ones too.
"""

from typing import Any

import numpy as np
from numpy.typing import DTypeLike
from torch import Tensor, nn

from hetero.backends.openvino_tracing import Marker
from hetero.models.decoder import AttentionShape

#: Inputs of every block's operator, in order, after its own two caches.
SHARED_INPUTS = ("past_lens", "begins", "block_indices", "block_begins", "longest")


class PagedOperator(nn.Module):
    """Stands for the operator while torch traces: only the output's shape matters, conversion replaces it."""

    def __init__(self, shape: AttentionShape) -> None:
        super().__init__()
        self.shape = shape

    def forward(self, q: Tensor, k: Tensor, v: Tensor, *inputs: Tensor) -> Tensor:
        return q * 1.0


class PagedAttention(nn.Module):
    """One block's attention over the paged cache. `inputs`: its key and value cache, then SHARED_INPUTS."""

    def __init__(self, shape: AttentionShape) -> None:
        super().__init__()
        self.operator = PagedOperator(shape)

    def forward(self, q: Tensor, k: Tensor, v: Tensor, *inputs: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        """q: [T, H*hs]; k, v: [T, KH*hs]. Returns ([T, H*hs], ()): the engine keeps keys and values itself."""
        return self.operator(q, k, v, *inputs), ()


def paged_markers(module: nn.Module) -> dict[nn.Module, Marker]:
    """How each marker in `module` is converted. The converter sees only tensors, so that each block's constants travel
    under its own operation's name."""
    found = [child for child in module.modules() if isinstance(child, PagedOperator)]
    return {child: _marker(child.shape) for child in found}


def _marker(shape: AttentionShape) -> Marker:
    name = f"hetero::paged_attention_{shape.block_index}"
    return Marker(name, lambda context: _operator(context, shape))


def _operator(context: Any, shape: AttentionShape) -> list[Any]:
    from openvino import op

    *step, longest = (context.get_input(i) for i in range(5 + len(SHARED_INPUTS)))
    constants = [_constant(shape.scale, np.float32), _constant(shape.sliding_window, np.int32)]
    no_alibi = _constant([], np.float32)
    node = op._PagedAttentionExtension([*step, *constants, no_alibi, longest, *_switched_off()])
    info = node.get_rt_info()  # the CPU's plugin insists on these four
    info["k_head_size"] = info["v_head_size"] = shape.head_size
    info["num_k_heads"] = info["num_v_heads"] = shape.kv_head_count
    return list(node.outputs()[:1])


def _switched_off() -> list[Any]:
    none, zero = _constant([], np.int32), _constant(0, np.int32)
    none_float, sinks = _constant([], np.float32), _constant(np.zeros((0, 0, 0, 0)), np.float32)
    image_regions = _constant([], np.uint8)
    return [none] * 3 + [none_float] * 2 + [zero] * 2 + [sinks, zero] + [none] * 4 + [image_regions, none]


def _constant(value: object, dtype: DTypeLike) -> Any:
    from openvino import opset13

    return opset13.constant(np.array(value, dtype=dtype)).output(0)
