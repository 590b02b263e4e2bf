"""The ONNX Runtime engine's encoders against `transformers` and sentence-transformers: on the CPU and on the NPU."""

from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch

from hetero.backends import get_backend
from hetero.backends.base import SliceSpec
from hetero.batch import FloatArray
from hetero.errors import BackendError
from hetero.models.config_reader import read_config
from hetero.models.tokenizer import PaddedTexts, Tokenizer
from placement.types import Device

Checkpoints = Callable[..., Path]
TEXTS = ["the cat sat beside the river", "a", "numbers, signs and wisdom: was it the best of times?", "schedule", "cat"]


def _padded(folder: Path, texts: list[str] = TEXTS) -> PaddedTexts:
    return Tokenizer(folder).encode_batch_padded(texts, read_config(folder).max_context)


def _run(specs: list[SliceSpec], padded: PaddedTexts, driver: ModuleType) -> FloatArray:
    vectors: FloatArray = driver.encode([get_backend("onnx").compile(spec) for spec in specs], *padded)
    return vectors


def _npu() -> Device:
    return next(device for device in get_backend("onnx").devices() if device.name == "npu")


def _mean_reference(folder: Path) -> FloatArray:
    from transformers import AutoModel

    ids, mask, _ = (torch.from_numpy(array) for array in _padded(folder))
    with torch.no_grad():
        hidden = AutoModel.from_pretrained(folder).eval()(ids, attention_mask=mask).last_hidden_state
    real = mask[..., None].float()
    wanted: FloatArray = ((hidden * real).sum(1) / real.sum(1)).numpy()
    return wanted


@pytest.mark.parametrize(
    ("family", "cuts"), [("bert", (0, 1, 4)), ("roberta", (0, 4)), ("distilbert", (0, 2, 4))], ids=str
)
def test_onnx_encoder_in_cuts_equals_transformers(
    family: str, cuts: tuple[int, ...], checkpoint: Checkpoints, slice_driver: ModuleType
) -> None:
    folder = checkpoint(family)
    found = _run(slice_driver.cut_specs(folder, cuts, kv=None), _padded(folder), slice_driver)
    np.testing.assert_allclose(found, _mean_reference(folder), atol=1e-5)


def test_onnx_classifier_equals_transformers(checkpoint: Checkpoints, slice_driver: ModuleType) -> None:
    from transformers import AutoModelForSequenceClassification

    folder = checkpoint("bert-classifier")
    ids, mask, _ = (torch.from_numpy(array) for array in _padded(folder))
    with torch.no_grad():
        wanted = AutoModelForSequenceClassification.from_pretrained(folder).eval()(ids, attention_mask=mask).logits
    found = _run(slice_driver.cut_specs(folder, (0, 4), kv=None), _padded(folder), slice_driver)
    np.testing.assert_allclose(found, wanted.numpy(), atol=1e-5)


def test_onnx_minilm_equals_sentence_transformers(minilm: Path, slice_driver: ModuleType) -> None:
    from sentence_transformers import SentenceTransformer

    wanted = SentenceTransformer(str(minilm), device="cpu").encode(TEXTS)
    found = _run(slice_driver.cut_specs(minilm, (0, 3, 6), kv=None), _padded(minilm), slice_driver)
    np.testing.assert_allclose(found, wanted, atol=1e-5)


@pytest.mark.parametrize("family", ["bert", "roberta"])
def test_onnx_encoder_on_the_npu_stays_within_stated_error(
    family: str, checkpoint: Checkpoints, slice_driver: ModuleType
) -> None:
    folder = checkpoint(family)
    specs = slice_driver.cut_specs(folder, (0, 4), device=_npu(), precision="fp16", kv=None)
    wanted = _mean_reference(folder)
    error = np.abs(_run(specs, _padded(folder), slice_driver) - wanted).max()
    assert 0 < error < 0.01 * np.abs(wanted).max()


def test_onnx_minilm_with_its_last_block_on_the_npu(minilm: Path, slice_driver: ModuleType) -> None:
    from sentence_transformers import SentenceTransformer

    texts = TEXTS[:2]
    wanted = SentenceTransformer(str(minilm), device="cpu").encode(texts)
    specs = slice_driver.cut_specs(minilm, (0, 5), kv=None)
    specs += slice_driver.cut_specs(minilm, (5, 6), device=_npu(), precision="fp16", kv=None)
    found = _run(specs, _padded(minilm, texts), slice_driver)
    assert 0 < np.abs(found - wanted).max() < 2e-3


def test_onnx_encoder_refuses_a_decoders_batch(checkpoint: Checkpoints, slice_driver: ModuleType) -> None:
    piece = get_backend("onnx").compile(slice_driver.cut_specs(checkpoint("bert"), (0, 1), kv=None)[0])
    with pytest.raises(BackendError, match="EncodeBatch"):
        slice_driver.Chain([piece]).feed([[1, 2]], [(2,)])
