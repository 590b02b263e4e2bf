"""The ONNX Runtime engine on the CPU against `transformers`: decoders in cuts, ragged chunks over scattered blocks."""

from collections.abc import Callable
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch

from hetero.backends import get_backend
from hetero.backends.base import CompiledSlice, KvSpec, SliceSpec
from hetero.batch import FloatArray
from hetero.errors import BackendError
from placement.types import Device, DeviceKind

Checkpoints = Callable[..., Path]

#: Tokens of each of three sequences in each round: prompts whole and in chunks, beside single decode tokens.
ROUNDS = [(70, 20, 0), (1, 13, 5), (30, 1, 1), (1, 1, 1), (1, 1, 40), (17, 1, 1), (1, 1, 1)]
LENGTHS = [sum(counts) for counts in zip(*ROUNDS, strict=True)]


def _tokens(vocabulary: int = 320) -> list[list[int]]:
    draw = np.random.default_rng(5)
    return [draw.integers(3, vocabulary, length).tolist() for length in LENGTHS]


def _reference(folder: Path, tokens: list[list[int]]) -> list[FloatArray]:
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    with torch.no_grad():
        return [model(torch.tensor([ids])).logits[0].numpy() for ids in tokens]


def _compile(specs: list[SliceSpec]) -> list[CompiledSlice]:
    return [get_backend("onnx").compile(spec) for spec in specs]


@pytest.mark.parametrize(
    ("family", "cuts"),
    [("llama", (0, 4)), ("smollm", (0, 1, 4)), ("mistral", (0, 2, 4)), ("qwen2", (0, 3, 4)), ("qwen3", (0, 1, 3, 4)),
     ("gpt2", (0, 2, 4))],
    ids=str,
)  # fmt: skip
def test_onnx_decoder_in_cuts_equals_transformers(
    family: str, cuts: tuple[int, ...], checkpoint: Checkpoints, slice_driver: ModuleType
) -> None:
    folder = checkpoint(family)
    chain = slice_driver.Chain(_compile(slice_driver.cut_specs(folder, cuts)))
    for found, wanted in zip(chain.feed(_tokens(), ROUNDS), _reference(folder, _tokens()), strict=True):
        np.testing.assert_allclose(found, wanted, atol=1e-4, rtol=1e-4)


def test_onnx_decoder_with_odd_head_size_and_one_key_head(checkpoint: Checkpoints, slice_driver: ModuleType) -> None:
    folder = checkpoint("llama", head_dim=10, num_key_value_heads=1, num_hidden_layers=2)
    chain = slice_driver.Chain(_compile(slice_driver.cut_specs(folder, (0, 2))))
    for found, wanted in zip(chain.feed(_tokens(), ROUNDS), _reference(folder, _tokens()), strict=True):
        np.testing.assert_allclose(found, wanted, atol=1e-4, rtol=1e-4)


def test_onnx_greedy_stories_equal_transformers(stories260k: Path, slice_driver: ModuleType) -> None:
    from transformers import AutoModelForCausalLM

    prompts = [[1, 403, 407, 261, 378], [1, 410], list(range(1, 60))]
    model = AutoModelForCausalLM.from_pretrained(stories260k).eval()
    wanted = []
    for prompt in prompts:
        ids = torch.tensor([prompt])
        out = model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=128, do_sample=False,
                             eos_token_id=-1, pad_token_id=0)  # fmt: skip
        wanted.append(out[0, len(prompt) :].tolist())
    for cut in range(1, 5):
        chain = slice_driver.Chain(_compile(slice_driver.cut_specs(stories260k, (0, cut, 5))))
        assert chain.greedy(prompts, 128) == wanted


def test_onnx_blocks_are_reused_cleanly(checkpoint: Checkpoints, slice_driver: ModuleType) -> None:
    chain = slice_driver.Chain(_compile(slice_driver.cut_specs(checkpoint("mistral"), (0, 4))))
    first = chain.feed(_tokens(), ROUNDS)
    chain.feed([ids[::-1] for ids in _tokens()], ROUNDS)
    for found, wanted in zip(chain.feed(_tokens(), ROUNDS), first, strict=True):
        np.testing.assert_allclose(found, wanted, atol=1e-5)


def test_onnx_report_is_what_was_loaded(checkpoint: Checkpoints, slice_driver: ModuleType) -> None:
    first, last = (piece.report for piece in _compile(slice_driver.cut_specs(checkpoint("llama"), (0, 1, 4))))
    block = 4 * (2 * 64 * 64 + 2 * 32 * 64 + 3 * 64 * 128 + 2 * 64)
    assert (first.engine, first.device, first.precision) == ("onnx", "CPUExecutionProvider", "fp32")
    assert first.engine_version == version("onnxruntime")
    assert first.weight_bytes == block
    assert last.weight_bytes == 3 * block + 4 * (64 + 320 * 64)
    assert first.kv_bytes == 2 * 4 * 48 * 32 * 2 * 16
    assert last.compile_seconds > 0


def _llama_spec(checkpoint: Checkpoints, slice_driver: ModuleType) -> SliceSpec:
    spec: SliceSpec = slice_driver.cut_specs(checkpoint("llama"), (1, 2))[0]
    return spec


@pytest.mark.parametrize("precision", ["fp16", "bf16", "int8"])
def test_onnx_refuses_what_it_would_compute_in_fp32(
    precision: str, checkpoint: Checkpoints, slice_driver: ModuleType
) -> None:
    with pytest.raises(BackendError, match=f"computes in fp32 on cpu .*, not in {precision}"):
        get_backend("onnx").compile(replace(_llama_spec(checkpoint, slice_driver), precision=precision))


@pytest.mark.parametrize(("name", "package"), [("gpu7", "onnxruntime-gpu"), ("node2.gpu9", "onnxruntime-gpu")])
def test_onnx_names_the_package_of_an_absent_device(
    name: str, package: str, checkpoint: Checkpoints, slice_driver: ModuleType
) -> None:
    device = Device(name, DeviceKind.GPU, ("onnx",), ("fp32",), 0)
    with pytest.raises(BackendError, match=f"drives no device '{name}' here, only cpu.*install {package}"):
        get_backend("onnx").compile(replace(_llama_spec(checkpoint, slice_driver), device=device))


def test_onnx_refuses_a_batch_it_cannot_run(checkpoint: Checkpoints, slice_driver: ModuleType) -> None:
    piece = get_backend("onnx").compile(_llama_spec(checkpoint, slice_driver))
    ids = np.ones((1, 3), np.int64)
    with pytest.raises(BackendError, match="DecodeBatch"):
        slice_driver.encode([piece], ids, ids, ids)
    with pytest.raises(BackendError, match="previous slice's hidden states"):
        slice_driver.Chain([piece]).feed([[1, 2]], [(2,)])


def test_onnx_decoder_without_a_cache_is_refused(checkpoint: Checkpoints, slice_driver: ModuleType) -> None:
    with pytest.raises(BackendError, match="needs a KV cache"):
        get_backend("onnx").compile(replace(_llama_spec(checkpoint, slice_driver), kv=None))


def test_onnx_says_when_the_cache_does_not_fit(checkpoint: Checkpoints, slice_driver: ModuleType) -> None:
    spec = replace(_llama_spec(checkpoint, slice_driver), kv=KvSpec(1 << 44, 32, 1, 64))
    with pytest.raises(BackendError, match="cpu has not the memory for a KV cache"):
        get_backend("onnx").compile(spec)


def test_onnx_slice_closes_twice(checkpoint: Checkpoints, slice_driver: ModuleType) -> None:
    piece = get_backend("onnx").compile(_llama_spec(checkpoint, slice_driver))
    piece.close()
    piece.close()


def test_onnx_lists_the_cpu() -> None:
    cpu = get_backend("onnx").devices()[0]
    assert (cpu.name, cpu.kind, cpu.engines, cpu.precisions) == ("cpu", DeviceKind.CPU, ("onnx",), ("fp32",))
    assert cpu.memory_bytes > 1 << 28
    assert not cpu.emulated


@pytest.mark.gpu
@pytest.mark.parametrize(("precision", "error"), [("fp32", 1e-3), ("fp16", 5e-2)])
def test_onnx_on_cuda_equals_transformers(
    precision: str, error: float, checkpoint: Checkpoints, slice_driver: ModuleType
) -> None:
    gpu = next(device for device in get_backend("onnx").devices() if device.kind is DeviceKind.GPU)
    for family in ("llama", "mistral", "qwen3", "gpt2"):
        folder = checkpoint(family)
        pieces = _compile(slice_driver.cut_specs(folder, (0, 2, 4), device=gpu, precision=precision))
        assert pieces[0].report.device == "CUDAExecutionProvider"
        chain = slice_driver.Chain(pieces)
        for found, wanted in zip(chain.feed(_tokens(), ROUNDS), _reference(folder, _tokens()), strict=True):
            assert np.abs(found - wanted).max() < error * wanted.std()
