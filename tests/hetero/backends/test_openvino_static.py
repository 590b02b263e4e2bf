"""Decoder slices of static shape in OpenVINO, as its NPU takes them, here compiled for the CPU: dense KV in slots."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch

from hetero.backends import get_backend
from hetero.backends.base import CompiledSlice
from hetero.errors import BackendError

Checkpoints = Callable[..., Path]

#: Tokens of each of two sequences in each round: chunks beside single decode tokens.
ROUNDS = [(20, 7), (1, 1), (17, 1), (1, 2), (1, 1)]
LENGTHS = [sum(counts) for counts in zip(*ROUNDS, strict=True)]
TOKENS = [np.random.default_rng(length).integers(3, 320, length).tolist() for length in LENGTHS]


def _compile(folder: Path, cuts: tuple[int, ...], driver: ModuleType, precision: str) -> list[CompiledSlice]:
    device = replace(driver.CPU, static_shapes=True)
    return [get_backend("openvino").compile(spec) for spec in driver.cut_specs(folder, cuts, device, precision)]


@pytest.mark.parametrize(
    ("family", "precision", "share"),
    [("mistral", "fp32", 1e-4), ("gpt2", "fp32", 1e-4), ("qwen3", "fp16", 0.02)],
)
def test_openvino_static_slices_equal_transformers(
    family: str, precision: str, share: float, checkpoint: Checkpoints, slice_driver: ModuleType
) -> None:
    from transformers import AutoModelForCausalLM

    folder = checkpoint(family)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    chain = slice_driver.Chain(_compile(folder, (0, 1, 4), slice_driver, precision))
    for found, ids in zip(chain.feed(TOKENS, ROUNDS), TOKENS, strict=True):
        with torch.no_grad():
            wanted = model(torch.tensor([ids])).logits[0].numpy()
        assert np.abs(found - wanted).max() < share * wanted.std()


def test_openvino_static_slice_refuses_what_it_cannot_hold(checkpoint: Checkpoints, slice_driver: ModuleType) -> None:
    (piece,) = _compile(checkpoint("llama", num_hidden_layers=1), (0, 1), slice_driver, "fp32")
    assert piece.report.device == "CPU, arithmetic f32"
    assert piece.report.kv_bytes == 4 * 2 * 4 * 2 * 256 * 16
    with pytest.raises(BackendError, match="257 tokens does not fit the slice's slots of 256 tokens"):
        slice_driver.Chain([piece]).feed([[5] * 257], [(257,)])
    with pytest.raises(BackendError, match="fp32 or fp16, not in bf16"):
        _compile(checkpoint("llama", num_hidden_layers=1), (0, 1), slice_driver, "bf16")
