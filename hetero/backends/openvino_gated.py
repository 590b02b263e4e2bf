"""Brings gated MLPs into the form that OpenVINO's own kernel for them takes, where that kernel exists and is sound.

On CPUs with AMX the plugin runs gate, up, activation and down in bf16 as one kernel, which prefetches its weights: with
them on large pages it reads 28 GB/s where single projections read 25 (`docs/benchmarks.md`). It recognises separate
gate and up on input of three dimensions. It splits the down projection between pairs of threads: with one thread it
divides by zero, and with an odd number it leaves its memory (2026.4). It reads fp16 and packs bf16; weights that it is
given in bf16 it would keep a second time. Knows torch modules and this processor.
"""

from functools import lru_cache
from pathlib import Path

import torch
from torch import Tensor, nn

from hetero.backends.base import SliceSpec
from hetero.backends.openvino_devices import core
from hetero.models.decoder import DecoderBlocks, Mlp
from placement.types import DeviceKind

#: The kernel's step along every dimension of the weights.
_STEP = 32
#: Smaller matrices than this stay in the caches, where the kernel gains nothing.
_LEAST_ELEMENTS = 1 << 20
_ACTIVATIONS = ("silu", "gelu_pytorch_tanh")


def takes_gated_kernel(spec: SliceSpec) -> bool:
    """Whether slices of `spec` run on a CPU whose plugin has the kernel, on a number of threads that it stands."""
    if spec.device.kind is not DeviceKind.CPU or spec.precision != "bf16" or not _has_amx():
        return False
    return engine_threads(spec.threads) % 2 == 0


def use_gated_kernel(blocks: DecoderBlocks) -> DecoderBlocks:
    """Wrap every gated MLP whose sizes the kernel takes; others stay."""
    for block in blocks.blocks:
        if isinstance(block.mlp, Mlp) and _fits(block.mlp):
            block.mlp = DeepMlp(block.mlp)
    return blocks


class DeepMlp(nn.Module):
    """A gated `Mlp` on [T, D] that shows the plugin [1, T, D], its weights in fp16: of a bf16 weight they hold every
    bit down to 6e-5, and below it what is left out is under 3e-8."""

    def __init__(self, mlp: Mlp) -> None:
        super().__init__()
        self.mlp = mlp
        for projection in (mlp.gate, mlp.up, mlp.down):
            projection.weight = nn.Parameter(projection.weight.to(torch.float16), requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.mlp(x.unsqueeze(0)).squeeze(0)
        return out


def _fits(mlp: Mlp) -> bool:
    if not mlp.gated or mlp.down.bias is not None or mlp.activation_name not in _ACTIVATIONS:
        return False
    inner, hidden = mlp.up.weight.shape
    if inner % _STEP or hidden % _STEP or inner * hidden < _LEAST_ELEMENTS:
        return False
    largest = max(float(each.weight.abs().max()) for each in (mlp.gate, mlp.up, mlp.down))
    return largest <= torch.finfo(torch.float16).max


@lru_cache
def engine_threads(threads: int) -> int:
    """On how many threads the plugin runs a CPU's slice that asks for so many (0: as many as it likes).

    They may be fewer: of the cores that the process had when it loaded the plugin. A tiny model is asked.
    """
    import numpy as np
    import openvino as ov
    from openvino import opset8

    number = opset8.parameter([1], np.float32)
    properties = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": threads}
    compiled = core().compile_model(ov.Model([opset8.relu(number)], [number]), "CPU", properties)
    return int(compiled.get_property("INFERENCE_NUM_THREADS"))


@lru_cache
def _has_amx() -> bool:
    """From Linux's list of the processor's features; elsewhere the kernel is left alone."""
    features = Path("/proc/cpuinfo")
    return features.exists() and "amx_bf16" in features.read_text(encoding="utf-8").partition("\n\n")[0].split()
