"""OpenVINO's own kernel for gated MLPs: used where it is there, right in its numbers, and left alone elsewhere."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch

from hetero.backends.base import SliceSpec
from hetero.backends.openvino_decoder import PagedDecoderSlice
from hetero.backends.openvino_gated import DeepMlp, takes_gated_kernel, use_gated_kernel
from hetero.backends.openvino_paged import PagedAttention
from hetero.models.config_reader import read_config
from hetero.models.loading import load_decoder_blocks

SIZES = {"hidden_size": 256, "intermediate_size": 4096, "num_hidden_layers": 2}
#: With every core from the start: the plugin counts those that the process has when it loads.
pytestmark = pytest.mark.slow


@pytest.fixture
def wide_model(checkpoint: Callable[..., Path]) -> Path:
    """Two blocks whose gated MLPs are large enough for the kernel."""
    return checkpoint("llama", **SIZES)


@pytest.fixture
def spec_of(slice_driver: ModuleType) -> Iterator[Callable[..., SliceSpec]]:
    def give(folder: Path, threads: int = 2, precision: str = "bf16") -> SliceSpec:
        [spec] = slice_driver.cut_specs(folder, (0, 2), precision=precision)
        return replace(spec, threads=threads)

    yield give


def test_only_even_threads_in_bf16_take_the_kernel(wide_model: Path, spec_of: Callable[..., SliceSpec]) -> None:
    has_amx = "amx_bf16" in Path("/proc/cpuinfo").read_text()
    assert takes_gated_kernel(spec_of(wide_model)) is (has_amx and len(os.sched_getaffinity(0)) > 1)
    assert not takes_gated_kernel(spec_of(wide_model, threads=1))
    assert not takes_gated_kernel(spec_of(wide_model, precision="fp32"))


def test_threads_are_those_that_the_plugin_has() -> None:
    """A process that had one core when it loaded the plugin keeps one thread, whatever it asks later."""
    program = (
        "import os\n"
        "cores = os.sched_getaffinity(0)\n"
        "os.sched_setaffinity(0, {min(cores)})\n"
        "from hetero.backends.openvino_gated import engine_threads\n"
        "first = engine_threads(1)\n"
        "os.sched_setaffinity(0, cores)\n"
        "print(first, engine_threads(2))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["1", "1"]


def test_sizes_and_numbers_that_the_kernel_does_not_take_are_left(
    checkpoint: Callable[..., Path], wide_model: Path
) -> None:
    def wrapped(folder: Path, scale: float = 1.0) -> bool:
        blocks = load_decoder_blocks(folder, read_config(folder), 0, 2, PagedAttention, torch.bfloat16)
        blocks.blocks[0].mlp.up.weight.data *= scale
        return isinstance(use_gated_kernel(blocks).blocks[0].mlp, DeepMlp)

    assert wrapped(wide_model)
    assert not wrapped(wide_model, 1e9)
    assert not wrapped(checkpoint("llama"))
    assert not wrapped(checkpoint("gpt2"))


def test_the_kernel_keeps_to_the_stated_error(
    wide_model: Path, spec_of: Callable[..., SliceSpec], slice_driver: ModuleType
) -> None:
    """bf16 within 0.15 of the logits' standard deviation of fp32, as without the kernel; one row and many."""
    spec = spec_of(wide_model)
    tokens = [np.random.default_rng(3).integers(3, 320, 60).tolist()]
    steps = [(1,), (40,), (1,), (1,), (17,)]
    [found] = slice_driver.Chain([PagedDecoderSlice(spec, read_config(wide_model))]).feed(tokens, steps)
    exact = replace(spec, precision="fp32")
    [wanted] = slice_driver.Chain([PagedDecoderSlice(exact, read_config(wide_model))]).feed(tokens, steps)
    assert 0 < np.abs(found - wanted).max() < 0.15 * wanted.std()
