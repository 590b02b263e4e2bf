"""The torch engine against `transformers`: every decoder in cuts, in ragged chunks over scattered KV blocks."""

from collections.abc import Callable
from dataclasses import replace
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
DECODERS = ("llama", "smollm", "mistral", "qwen2", "qwen3", "gpt2")

#: Tokens of each of three sequences in each round: prompts whole and in chunks, beside single decode tokens.
ROUNDS = [(70, 20, 0), (1, 13, 5), (30, 1, 1), (1, 1, 1), (1, 1, 40), (17, 1, 1), (1, 1, 1)]
LENGTHS = [sum(counts) for counts in zip(*ROUNDS, strict=True)]


def _tokens(vocabulary: int = 320) -> list[list[int]]:
    draw = np.random.default_rng(3)
    return [draw.integers(3, vocabulary, length).tolist() for length in LENGTHS]


def _reference(folder: Path, tokens: list[list[int]], dtype: torch.dtype = torch.float32) -> list[FloatArray]:
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype).eval()
    with torch.no_grad():
        return [model(torch.tensor([ids])).logits[0].float().numpy() for ids in tokens]


def _compile(specs: list[SliceSpec]) -> list[CompiledSlice]:
    return [get_backend("torch").compile(spec) for spec in specs]


@pytest.mark.parametrize("cuts", [(0, 2, 4), (0, 1, 3, 4)], ids=str)
@pytest.mark.parametrize("family", DECODERS)
def test_torch_decoder_in_cuts_equals_transformers(
    family: str, cuts: tuple[int, ...], checkpoint: Checkpoints, slice_driver: ModuleType
) -> None:
    folder = checkpoint(family)
    chain = slice_driver.Chain(_compile(slice_driver.cut_specs(folder, cuts)))
    for found, wanted in zip(chain.feed(_tokens(), ROUNDS), _reference(folder, _tokens()), strict=True):
        np.testing.assert_allclose(found, wanted, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("cut", [1, 2, 3, 4])
def test_torch_greedy_stories_equal_transformers(cut: int, stories260k: Path, slice_driver: ModuleType) -> None:
    from transformers import AutoModelForCausalLM

    prompts = [[1, 403, 407, 261, 378], [1, 410], list(range(1, 60))]
    model = AutoModelForCausalLM.from_pretrained(stories260k).eval()
    wanted = []
    for prompt in prompts:
        ids = torch.tensor([prompt])
        out = model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=128, do_sample=False,
                             eos_token_id=-1, pad_token_id=0)  # fmt: skip
        wanted.append(out[0, len(prompt) :].tolist())
    chain = slice_driver.Chain(_compile(slice_driver.cut_specs(stories260k, (0, cut, 5))))
    assert chain.greedy(prompts, 128) == wanted


#: Largest difference of a logit, as a share of the logits' standard deviation, from `transformers` in fp32.
@pytest.mark.parametrize(("precision", "share"), [("bf16", 0.15), ("fp16", 0.02)])
@pytest.mark.parametrize("family", ["llama", "qwen3", "gpt2"])
def test_torch_reduced_precision_stays_within_stated_error(
    family: str, precision: str, share: float, checkpoint: Checkpoints, slice_driver: ModuleType
) -> None:
    folder = checkpoint(family)
    chain = slice_driver.Chain(_compile(slice_driver.cut_specs(folder, (0, 2, 4), precision=precision)))
    for found, wanted in zip(chain.feed(_tokens(), ROUNDS), _reference(folder, _tokens()), strict=True):
        error = np.abs(found - wanted).max()
        assert 0 < error < share * wanted.std()


def test_torch_bf16_rounds_where_transformers_does(checkpoint: Checkpoints, slice_driver: ModuleType) -> None:
    folder = checkpoint("qwen3", dtype="bfloat16")
    exact = _reference(folder, _tokens())
    theirs = _reference(folder, _tokens(), torch.bfloat16)
    ours = slice_driver.Chain(_compile(slice_driver.cut_specs(folder, (0, 4), precision="bf16"))).feed(
        _tokens(), ROUNDS
    )
    for mine, their, true in zip(ours, theirs, exact, strict=True):
        assert np.abs(mine - true).mean() < 1.25 * np.abs(their - true).mean()


def test_torch_report_is_what_was_loaded(checkpoint: Checkpoints, slice_driver: ModuleType) -> None:
    specs = slice_driver.cut_specs(checkpoint("llama"), (0, 1, 4), precision="bf16")
    first, last = (piece.report for piece in _compile(specs))
    block = 2 * (2 * 64 * 64 + 2 * 32 * 64 + 3 * 64 * 128 + 2 * 64)
    assert (first.engine, first.device, first.precision) == ("torch", "cpu", "bf16")
    assert first.engine_version == torch.__version__
    assert first.weight_bytes == block
    assert last.weight_bytes == 3 * block + 2 * (64 + 320 * 64)
    assert first.kv_bytes == 2 * 2 * 48 * 32 * 2 * 16
    assert last.compile_seconds > 0


def test_torch_sets_the_threads_asked_for(checkpoint: Checkpoints, slice_driver: ModuleType) -> None:
    before = torch.get_num_threads()
    try:
        spec = slice_driver.cut_specs(checkpoint("llama"), (0, 1))[0]
        get_backend("torch").compile(replace(spec, threads=3))
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)


def _llama_spec(checkpoint: Checkpoints, slice_driver: ModuleType) -> SliceSpec:
    spec: SliceSpec = slice_driver.cut_specs(checkpoint("llama"), (1, 2))[0]
    return spec


@pytest.mark.parametrize(
    ("name", "kind"), [("gpu7", DeviceKind.GPU), ("npu", DeviceKind.NPU), ("node2.gpu9", DeviceKind.GPU)]
)
def test_torch_refuses_a_device_it_does_not_drive(
    name: str, kind: DeviceKind, checkpoint: Checkpoints, slice_driver: ModuleType
) -> None:
    device = Device(name, kind, ("torch",), ("fp32",), 0)
    with pytest.raises(BackendError, match=rf"torch drives no device '{name}' here, only cpu"):
        get_backend("torch").compile(replace(_llama_spec(checkpoint, slice_driver), device=device))


def test_torch_refuses_a_precision_it_lacks(checkpoint: Checkpoints, slice_driver: ModuleType) -> None:
    with pytest.raises(BackendError, match="fp32, bf16, fp16 on cpu, not in 'int8'"):
        get_backend("torch").compile(replace(_llama_spec(checkpoint, slice_driver), precision="int8"))


def test_torch_says_when_the_cache_does_not_fit(checkpoint: Checkpoints, slice_driver: ModuleType) -> None:
    spec = replace(_llama_spec(checkpoint, slice_driver), kv=KvSpec(1 << 44, 32, 1, 64))
    with pytest.raises(BackendError, match="cpu has not the memory to load blocks 1-2 with torch"):
        get_backend("torch").compile(spec)


def test_torch_refuses_a_batch_of_the_other_kind(checkpoint: Checkpoints, slice_driver: ModuleType) -> None:
    piece = get_backend("torch").compile(_llama_spec(checkpoint, slice_driver))
    ids = np.ones((1, 3), np.int64)
    with pytest.raises(BackendError, match="DecodeBatch"):
        slice_driver.encode([piece], ids, ids, ids)
    with pytest.raises(BackendError, match="previous slice's hidden states"):
        slice_driver.Chain([piece]).feed([[1, 2]], [(2,)])


def test_torch_slice_closes_twice(checkpoint: Checkpoints, slice_driver: ModuleType) -> None:
    piece = get_backend("torch").compile(_llama_spec(checkpoint, slice_driver))
    piece.close()
    piece.close()


def test_torch_lists_the_cpu(slice_driver: ModuleType) -> None:
    cpu = get_backend("torch").devices()[0]
    assert (cpu.name, cpu.kind, cpu.engines) == ("cpu", DeviceKind.CPU, ("torch",))
    assert cpu.memory_bytes > 1 << 28


@pytest.mark.gpu
@pytest.mark.parametrize("family", DECODERS)
def test_torch_on_cuda_equals_transformers(family: str, checkpoint: Checkpoints, slice_driver: ModuleType) -> None:
    gpu = get_backend("torch").devices()[1]
    folder = checkpoint(family)
    pieces = _compile(slice_driver.cut_specs(folder, (0, 2, 4), device=gpu))
    assert pieces[0].report.device.startswith("cuda:0")
    for found, wanted in zip(
        slice_driver.Chain(pieces).feed(_tokens(), ROUNDS), _reference(folder, _tokens()), strict=True
    ):
        np.testing.assert_allclose(found, wanted, atol=1e-3, rtol=1e-3)
