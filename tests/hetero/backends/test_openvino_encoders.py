"""The OpenVINO engine's encoders against `transformers` and sentence-transformers, whole and cut."""

from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch

from hetero.backends import get_backend
from hetero.batch import FloatArray
from hetero.errors import BackendError
from hetero.models.config_reader import read_config
from hetero.models.tokenizer import PaddedTexts, Tokenizer

Checkpoints = Callable[..., Path]
TEXTS = ["the cat sat beside the river", "a", "numbers, signs and wisdom: was it the best of times?", "schedule"]


def _padded(folder: Path) -> PaddedTexts:
    return Tokenizer(folder).encode_batch_padded(TEXTS, read_config(folder).max_context)


def _run(folder: Path, cuts: tuple[int, ...], driver: ModuleType, precision: str = "fp32") -> FloatArray:
    specs = driver.cut_specs(folder, cuts, precision=precision, kv=None)
    slices = [get_backend("openvino").compile(spec) for spec in specs]
    driver.encode(slices, *(array[:1, :3] for array in _padded(folder)))  # another shape first: both stay open
    vectors: FloatArray = driver.encode(slices, *_padded(folder))
    return vectors


@pytest.mark.parametrize("family", ["bert", "roberta", "distilbert"])
def test_openvino_encoder_in_cuts_equals_transformers(
    family: str, checkpoint: Checkpoints, slice_driver: ModuleType
) -> None:
    from transformers import AutoModel

    folder = checkpoint(family)
    ids, mask, _ = (torch.from_numpy(array) for array in _padded(folder))
    with torch.no_grad():
        hidden = AutoModel.from_pretrained(folder).eval()(ids, attention_mask=mask).last_hidden_state
    weight = mask[..., None].float()
    wanted = ((hidden * weight).sum(1) / weight.sum(1)).numpy()
    np.testing.assert_allclose(_run(folder, (0, 1, 3, 4), slice_driver), wanted, atol=1e-5)


@pytest.mark.parametrize("family", ["bert-classifier", "roberta-classifier", "distilbert-classifier"])
def test_openvino_classifier_equals_transformers(
    family: str, checkpoint: Checkpoints, slice_driver: ModuleType
) -> None:
    from transformers import AutoModelForSequenceClassification

    folder = checkpoint(family)
    model = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    ids, mask, _ = (torch.from_numpy(array) for array in _padded(folder))
    with torch.no_grad():
        wanted = model(ids, attention_mask=mask).logits.numpy()
    np.testing.assert_allclose(_run(folder, (0, 2, 4), slice_driver), wanted, atol=1e-5)


#: Largest difference of a component of a vector of length 1.
ERRORS = {"fp32": 1e-5, "bf16": 2e-2, "fp16": 2e-3}


@pytest.mark.parametrize("precision", get_backend("openvino").devices()[0].precisions)
def test_openvino_minilm_equals_sentence_transformers(precision: str, minilm: Path, slice_driver: ModuleType) -> None:
    from sentence_transformers import SentenceTransformer

    wanted = SentenceTransformer(str(minilm), device="cpu").encode(TEXTS)
    np.testing.assert_allclose(_run(minilm, (0, 3, 6), slice_driver, precision), wanted, atol=ERRORS[precision])


def test_openvino_encoder_refuses_a_batch_of_the_other_kind(checkpoint: Checkpoints, slice_driver: ModuleType) -> None:
    (spec,) = slice_driver.cut_specs(checkpoint("bert"), (1, 2), kv=None)
    piece = get_backend("openvino").compile(spec)
    with pytest.raises(BackendError, match="takes encode batches"):
        slice_driver.Chain([piece]).feed([[1, 2]], [(2,)])
    ids = np.ones((1, 3), np.int64)
    with pytest.raises(BackendError, match="previous slice's hidden states"):
        slice_driver.encode([piece], ids, ids, ids)
    assert (piece.report.device, piece.report.kv_bytes) == ("CPU, arithmetic f32", 0)
