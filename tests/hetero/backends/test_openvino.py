"""The OpenVINO engine's decoders against `transformers`: in cuts, in ragged chunks over scattered KV blocks."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch

from hetero.backends import get_backend
from hetero.backends.base import CompiledSlice, KvSpec, SliceSpec
from hetero.backends.openvino_request import split_blocks
from hetero.backends.openvino_settings import check_honoured
from hetero.batch import FloatArray
from hetero.errors import BackendError
from placement.types import Device, DeviceKind

Checkpoints = Callable[..., Path]
PRECISIONS = get_backend("openvino").devices()[0].precisions
DECODERS = ("llama", "smollm", "mistral", "qwen2", "qwen3", "gpt2")

#: Tokens of each of three sequences in each round: prompts whole and in chunks, beside single decode tokens.
ROUNDS = [(70, 20, 0), (1, 13, 5), (30, 1, 1), (1, 1, 1), (1, 1, 40), (17, 1, 1), (1, 1, 1)]
LENGTHS = [sum(counts) for counts in zip(*ROUNDS, strict=True)]


def _tokens(vocabulary: int = 320) -> list[list[int]]:
    draw = np.random.default_rng(3)
    return [draw.integers(3, vocabulary, length).tolist() for length in LENGTHS]


def _reference(folder: Path, tokens: list[list[int]]) -> list[FloatArray]:
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    with torch.no_grad():
        return [model(torch.tensor([ids])).logits[0].numpy() for ids in tokens]


def _compile(specs: list[SliceSpec]) -> list[CompiledSlice]:
    return [get_backend("openvino").compile(spec) for spec in specs]


@pytest.mark.parametrize("family", DECODERS)
def test_openvino_decoder_in_cuts_equals_transformers(
    family: str, checkpoint: Checkpoints, slice_driver: ModuleType
) -> None:
    folder = checkpoint(family)
    chain = slice_driver.Chain(_compile(slice_driver.cut_specs(folder, (0, 1, 3, 4))))
    for found, wanted in zip(chain.feed(_tokens(), ROUNDS), _reference(folder, _tokens()), strict=True):
        np.testing.assert_allclose(found, wanted, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("head_size", [2, 12, 20, 80])
def test_openvino_takes_every_head_size(head_size: int, checkpoint: Checkpoints, slice_driver: ModuleType) -> None:
    folder = checkpoint("llama", head_dim=head_size, num_hidden_layers=2)
    chain = slice_driver.Chain(_compile(slice_driver.cut_specs(folder, (0, 2))))
    for found, wanted in zip(chain.feed(_tokens(), ROUNDS), _reference(folder, _tokens()), strict=True):
        np.testing.assert_allclose(found, wanted, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("cuts", [(0, 5), (0, 2, 5), (0, 4, 5)], ids=str)
def test_openvino_greedy_stories_equal_transformers(
    cuts: tuple[int, ...], stories260k: Path, slice_driver: ModuleType
) -> None:
    from transformers import AutoModelForCausalLM

    prompts = [[1, 403, 407, 261, 378], [1, 410], list(range(1, 60))]
    model = AutoModelForCausalLM.from_pretrained(stories260k).eval()
    wanted = []
    for prompt in prompts:
        ids = torch.tensor([prompt])
        out = model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=128, do_sample=False,
                             eos_token_id=-1, pad_token_id=0)  # fmt: skip
        wanted.append(out[0, len(prompt) :].tolist())
    chain = slice_driver.Chain(_compile(slice_driver.cut_specs(stories260k, cuts)))
    assert chain.greedy(prompts, 128) == wanted


#: Largest difference of a logit, as a share of the logits' standard deviation, from `transformers` in fp32.
ERRORS = {"bf16": 0.15, "fp16": 0.02}


@pytest.mark.parametrize("precision", [name for name in PRECISIONS if name != "fp32"])
@pytest.mark.parametrize("family", ["llama", "qwen3", "gpt2", "mistral"])
def test_openvino_reduced_precision_stays_within_stated_error(
    family: str, precision: str, checkpoint: Checkpoints, slice_driver: ModuleType
) -> None:
    folder = checkpoint(family)
    chain = slice_driver.Chain(_compile(slice_driver.cut_specs(folder, (0, 2, 4), precision=precision)))
    for found, wanted in zip(chain.feed(_tokens(), ROUNDS), _reference(folder, _tokens()), strict=True):
        error = np.abs(found - wanted).max()
        assert 0 < error < ERRORS[precision] * wanted.std()


def test_openvino_head_runs_on_the_sampled_rows_alone(checkpoint: Checkpoints, slice_driver: ModuleType) -> None:
    folder = checkpoint("llama")
    chain = slice_driver.Chain(_compile(slice_driver.cut_specs(folder, (0, 4))))
    everything = chain.feed(_tokens(), ROUNDS)[0][:70]
    batch = chain._batch(0, [_tokens()[0]], [70], [0], [[9, 4, 30]], [0])
    some = chain.run(replace(batch, sample_rows=np.array([69, 3])))
    none = chain.run(replace(batch, sample_rows=np.array([], np.int64)))
    np.testing.assert_allclose(some, everything[[69, 3]], atol=1e-5)
    assert none.shape == (0, 320)


def test_openvino_reads_hidden_states_that_may_not_be_written(
    checkpoint: Checkpoints, slice_driver: ModuleType
) -> None:
    first, last = _compile(slice_driver.cut_specs(checkpoint("llama"), (0, 2, 4)))
    batch = slice_driver.Chain([])._batch(0, [[5, 6, 7]], [3], [0], [[2]], [0])
    hidden = np.frombuffer(first.run(batch, None).tobytes(), np.float32).reshape(3, 64)
    wanted = last.run(batch, hidden.copy()).copy()
    np.testing.assert_array_equal(last.run(batch, hidden), wanted)


def test_openvino_large_slice_keeps_its_weights_once(
    checkpoint: Checkpoints, slice_driver: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Weights above a size lie in a file that is let go after packing; what is computed must not change by it."""
    monkeypatch.setattr("hetero.backends.openvino_scratch.SMALL_BYTES", 0)
    folder = checkpoint("qwen2")
    chain = slice_driver.Chain(_compile(slice_driver.cut_specs(folder, (0, 4))))
    for found, wanted in zip(chain.feed(_tokens(), ROUNDS), _reference(folder, _tokens()), strict=True):
        np.testing.assert_allclose(found, wanted, atol=1e-4, rtol=1e-4)


ACCOUNTS = {
    "fp32": ("CPU, arithmetic f32, KV cache f32", 4),
    "bf16": ("CPU, arithmetic bf16, KV cache bf16", 2),
    "fp16": ("CPU, arithmetic f32, KV cache f16", 2),
}


@pytest.mark.parametrize("precision", PRECISIONS)
def test_openvino_report_is_the_engines_own(precision: str, checkpoint: Checkpoints, slice_driver: ModuleType) -> None:
    import openvino

    account, number_bytes = ACCOUNTS[precision]
    first, last = (
        piece.report for piece in _compile(slice_driver.cut_specs(checkpoint("llama"), (0, 1, 4), precision=precision))
    )
    block = number_bytes * (2 * 64 * 64 + 2 * 32 * 64 + 3 * 64 * 128 + 2 * 64)
    assert (first.engine, first.device, first.precision) == ("openvino", account, precision)
    assert first.engine_version == openvino.__version__
    assert first.weight_bytes == block
    assert last.weight_bytes == 3 * block + number_bytes * (64 + 320 * 64)
    assert first.kv_bytes == number_bytes * 2 * 48 * 32 * 2 * 16
    assert last.compile_seconds > 0


def _spec(checkpoint: Checkpoints, slice_driver: ModuleType) -> SliceSpec:
    spec: SliceSpec = slice_driver.cut_specs(checkpoint("llama"), (1, 2))[0]
    return spec


@pytest.mark.parametrize(
    ("name", "kind"), [("gpu7", DeviceKind.GPU), ("npu7", DeviceKind.NPU), ("node2.gpu9", DeviceKind.GPU)]
)
def test_openvino_refuses_a_device_it_does_not_see(
    name: str, kind: DeviceKind, checkpoint: Checkpoints, slice_driver: ModuleType
) -> None:
    device = Device(name, kind, ("openvino",), ("fp32", "fp16"), 0, static_shapes=kind is DeviceKind.NPU)
    with pytest.raises(BackendError, match=f"OpenVINO sees no device {name} here, only CPU"):
        get_backend("openvino").compile(replace(_spec(checkpoint, slice_driver), device=device))


@pytest.mark.parametrize("precision", ["int8", "bf16"])
def test_openvino_refuses_a_precision_that_the_device_lacks(
    precision: str, checkpoint: Checkpoints, slice_driver: ModuleType
) -> None:
    old = Device("cpu", DeviceKind.CPU, ("openvino",), ("fp32", "fp16"), 0)
    spec = replace(_spec(checkpoint, slice_driver), device=old, precision=precision)
    with pytest.raises(BackendError, match=f"cpu has no {precision} arithmetic for OpenVINO: choose one of fp32, fp16"):
        get_backend("openvino").compile(spec)


def test_openvino_refuses_blocks_that_its_own_do_not_fill(checkpoint: Checkpoints, slice_driver: ModuleType) -> None:
    spec = replace(_spec(checkpoint, slice_driver), kv=KvSpec(4, 48, 2, 64))
    with pytest.raises(BackendError, match="OpenVINO keeps 32 tokens in a KV block: 48 is no multiple of it"):
        get_backend("openvino").compile(spec)


def test_openvino_says_when_the_cache_does_not_fit(checkpoint: Checkpoints, slice_driver: ModuleType) -> None:
    spec = replace(_spec(checkpoint, slice_driver), kv=KvSpec(1 << 36, 32, 1, 64))
    with pytest.raises(BackendError, match="no memory for a KV cache of 68719476736 blocks"):
        get_backend("openvino").compile(spec)


def test_openvino_refuses_a_decoder_without_a_cache(checkpoint: Checkpoints, slice_driver: ModuleType) -> None:
    with pytest.raises(BackendError, match="needs a KV cache"):
        get_backend("openvino").compile(replace(_spec(checkpoint, slice_driver), kv=None))


def test_openvino_notices_settings_that_were_not_honoured() -> None:
    import openvino as ov

    parameter = ov.opset13.parameter([1], np.float32)
    model = ov.Model([ov.opset13.add(parameter, parameter)], [parameter])
    compiled = ov.Core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    assert check_honoured(compiled, "CPU", {"INFERENCE_PRECISION_HINT": "f32"}) == "CPU, arithmetic f32"
    with pytest.raises(BackendError, match="INFERENCE_PRECISION_HINT=f32, not f16"):
        check_honoured(compiled, "CPU", {"INFERENCE_PRECISION_HINT": "f16"})
    with pytest.raises(BackendError, match=r"put the slice on CPU instead of GPU\.1"):
        check_honoured(compiled, "GPU.1", {})


def test_openvino_refuses_a_batch_of_the_other_kind(checkpoint: Checkpoints, slice_driver: ModuleType) -> None:
    piece = get_backend("openvino").compile(_spec(checkpoint, slice_driver))
    ids = np.ones((1, 3), np.int64)
    with pytest.raises(BackendError, match="takes decode batches"):
        slice_driver.encode([piece], ids, ids, ids)
    with pytest.raises(BackendError, match="previous slice's hidden states"):
        slice_driver.Chain([piece]).feed([[1, 2]], [(2,)])


def test_openvino_engine_failure_is_a_backend_error(checkpoint: Checkpoints, slice_driver: ModuleType) -> None:
    piece = get_backend("openvino").compile(_spec(checkpoint, slice_driver))
    batch = slice_driver.Chain([])._batch(0, [[5, 6, 7]], [3], [0], [[2]], [0])
    with pytest.raises(BackendError, match="OpenVINO"):
        piece.run(batch, np.zeros((3, 63), np.float32))


def test_openvino_closed_slice_refuses_to_run(checkpoint: Checkpoints, slice_driver: ModuleType) -> None:
    piece = get_backend("openvino").compile(_spec(checkpoint, slice_driver))
    piece.close()
    piece.close()
    batch = slice_driver.Chain([])._batch(0, [[5]], [1], [0], [[2]], [0])
    with pytest.raises(BackendError, match="closed"):
        piece.run(batch, np.zeros((1, 64), np.float32))


def test_openvino_lists_the_cpu() -> None:
    cpu = get_backend("openvino").devices()[0]
    assert (cpu.name, cpu.kind, cpu.engines, cpu.static_shapes) == ("cpu", DeviceKind.CPU, ("openvino",), False)
    assert {"fp32", "fp16"} <= set(cpu.precisions)
    assert cpu.memory_bytes > 1 << 28
    assert cpu.description


def test_split_blocks_where_the_engines_are_smaller() -> None:
    blocks, begins = split_blocks(np.array([5, 2, 7], np.int32), np.array([0, 2, 3], np.int32), 2)
    assert blocks.tolist() == [10, 11, 4, 5, 14, 15]
    assert begins.tolist() == [0, 4, 6]
    assert blocks.dtype == begins.dtype == np.int32
