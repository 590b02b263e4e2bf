"""Decoders on the NPU of the tests (Qualcomm's HTP emulator): errors of its fp16, greedy text, slots, clean ends."""

import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from hetero.backends import get_backend
from hetero.backends.base import KvSpec, SliceSpec
from hetero.backends.onnx_export import export_graph
from hetero.backends.onnx_providers import provider_of
from hetero.backends.onnx_runner import Runner
from hetero.batch import FloatArray
from hetero.errors import BackendError
from placement.types import Device, DeviceKind

Checkpoints = Callable[..., Path]
Specs = Callable[..., list[SliceSpec]]

#: Tokens of each of four sequences in each round: chunks of several sizes, decode tokens together, a window passed.
ROUNDS = [(40, 5, 0, 1), (1, 1, 20, 1), (30, 1, 1, 0), (1, 1, 1, 1)]
LENGTHS = [sum(counts) for counts in zip(*ROUNDS, strict=True)]


@pytest.fixture(scope="module")
def npu() -> Device:
    return next(device for device in get_backend("onnx").devices() if device.name == "npu")


@pytest.fixture(scope="module")
def npu_specs(npu: Device, slice_driver: ModuleType) -> Specs:
    def make(folder: Path, cuts: tuple[int, ...], **others: KvSpec) -> list[SliceSpec]:
        specs: list[SliceSpec] = slice_driver.cut_specs(folder, cuts, device=npu, precision="fp16", **others)
        return specs

    return make


def _tokens(vocabulary: int) -> list[list[int]]:
    draw = np.random.default_rng(11)
    return [draw.integers(3, vocabulary, length).tolist() for length in LENGTHS]


def _reference(folder: Path, tokens: list[list[int]]) -> list[FloatArray]:
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    with torch.no_grad():
        return [model(torch.tensor([ids])).logits[0].numpy() for ids in tokens]


def _compile(specs: list[SliceSpec]) -> list:  # type: ignore[type-arg]
    return [get_backend("onnx").compile(spec) for spec in specs]


def test_npu_is_listed_as_what_it_is(npu: Device) -> None:
    assert (npu.kind, npu.engines, npu.precisions) == (DeviceKind.NPU, ("onnx",), ("fp16",))
    assert npu.static_shapes
    assert npu.emulated
    assert "emulated" in npu.description


def test_npu_greedy_text_in_the_middle_of_a_plan_equals_transformers(
    stories260k: Path, npu_specs: Specs, slice_driver: ModuleType
) -> None:
    from transformers import AutoModelForCausalLM

    prompt = [1, 403, 407, 261, 378]
    model = AutoModelForCausalLM.from_pretrained(stories260k).eval()
    ids = torch.tensor([prompt])
    wanted = model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=64, do_sample=False,
                            eos_token_id=-1, pad_token_id=0)[0, len(prompt) :].tolist()  # fmt: skip
    ends = slice_driver.cut_specs(stories260k, (0, 2, 4, 5))
    pieces = _compile([ends[0], *npu_specs(stories260k, (2, 4)), ends[2]])
    assert slice_driver.Chain(pieces).greedy([prompt], 64) == [wanted]
    assert [piece.report.device for piece in pieces] == [
        "CPUExecutionProvider", "QNNExecutionProvider (emulated)", "CPUExecutionProvider",
    ]  # fmt: skip


#: Whole models, so that the NPU is first slice and last: learned positions; norms of query and key, odd groups; window.
@pytest.mark.parametrize(
    ("family", "overrides"),
    [("gpt2", {}), ("qwen3", {"num_hidden_layers": 2}), ("mistral", {"num_hidden_layers": 2})],
    ids=str,
)
def test_npu_logits_stay_within_stated_error(
    family: str, overrides: dict[str, int], checkpoint: Checkpoints, npu_specs: Specs, slice_driver: ModuleType
) -> None:
    folder = checkpoint(family, **overrides)
    chain = slice_driver.Chain(_compile(npu_specs(folder, (0, overrides.get("num_hidden_layers", 4)))))
    for found, wanted in zip(chain.feed(_tokens(320), ROUNDS), _reference(folder, _tokens(320)), strict=True):
        assert 0 < np.abs(found - wanted).max() < 0.02 * wanted.std()


def test_npu_logits_of_a_trained_model_and_slots_used_again(
    stories260k: Path, npu_specs: Specs, slice_driver: ModuleType
) -> None:
    chain = slice_driver.Chain(_compile(npu_specs(stories260k, (0, 5))))
    first = chain.feed(_tokens(512), ROUNDS)
    for found, wanted in zip(first, _reference(stories260k, _tokens(512)), strict=True):
        assert np.abs(found - wanted).max() < 0.02 * wanted.std()
    for again, before in zip(chain.feed(_tokens(512), ROUNDS), first, strict=True):
        np.testing.assert_array_equal(again, before)


def test_npu_report_is_what_was_loaded(stories260k: Path, npu_specs: Specs) -> None:
    (piece,) = _compile(npu_specs(stories260k, (4, 5)))
    block = 2 * (2 * 64 * 64 + 2 * 32 * 64 + 3 * 64 * 172 + 2 * 64)
    assert "onnxruntime-qnn" in piece.report.engine_version
    assert piece.report.precision == "fp16"
    assert piece.report.weight_bytes == block + 2 * (64 + 512 * 64)
    assert piece.report.kv_bytes == 2 * 2 * 4 * 256 * 4 * 8


def test_npu_refuses_a_sequence_longer_than_its_slots(
    stories260k: Path, npu_specs: Specs, slice_driver: ModuleType
) -> None:
    kv = KvSpec(48, 32, 4, 32)
    (piece,) = _compile(npu_specs(stories260k, (4, 5), kv=kv))
    batch_of = slice_driver.Chain([piece], kv)
    with pytest.raises(BackendError, match="33 tokens does not fit the slice's slots of 32"):
        batch_of.feed([list(range(33))], [(33,)])


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_npu_refuses_a_precision_it_lacks(precision: str, stories260k: Path, npu_specs: Specs) -> None:
    with pytest.raises(BackendError, match=f"computes in fp16 on npu .*, not in {precision}"):
        _compile([replace(npu_specs(stories260k, (0, 1))[0], precision=precision)])


class _Error(nn.Module):
    """An operator that the HTP lacks."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.erf(x)


def test_npu_never_falls_back_to_the_cpu(npu: Device) -> None:
    graph = export_graph(_Error(), (torch.zeros(4, 4, dtype=torch.float16),), ["x"], ["y"])
    with pytest.raises(BackendError, match="cannot compile the slice for npu"):
        Runner(graph, provider_of(npu))


PROGRAM = """
import os, sys
from pathlib import Path
from hetero.backends import get_backend
from hetero.backends.base import KvSpec, SliceSpec
backend = get_backend("onnx")
npu = next(device for device in backend.devices() if device.name == "npu")
piece = backend.compile(SliceSpec(Path(sys.argv[1]), 3, 4, npu, "fp16", 1, KvSpec(4, 32, 1, 64)))
print(piece.report.device, flush=True)
{end}
"""


@pytest.mark.parametrize("end", ["piece.close()", "", "os._exit(0)"], ids=["closed", "left open", "at once"])
def test_npu_process_ends_cleanly_and_prints_nothing_of_its_own(end: str, stories260k: Path) -> None:
    command = [sys.executable, "-c", PROGRAM.format(end=end), str(stories260k)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert (done.returncode, done.stdout, done.stderr) == (0, "QNNExecutionProvider (emulated)\n", "")
