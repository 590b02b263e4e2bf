"""The torch engine's encoders against `transformers` and sentence-transformers, whole and cut."""

from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch

from hetero.backends import get_backend
from hetero.batch import FloatArray
from hetero.models.config_reader import read_config
from hetero.models.tokenizer import PaddedTexts, Tokenizer

Checkpoints = Callable[..., Path]
TEXTS = ["the cat sat beside the river", "a", "numbers, signs and wisdom: was it the best of times?", "schedule"]


def _padded(folder: Path) -> PaddedTexts:
    return Tokenizer(folder).encode_batch_padded(TEXTS, read_config(folder).max_context)


def _run(folder: Path, cuts: tuple[int, ...], driver: ModuleType, precision: str = "fp32") -> FloatArray:
    specs = driver.cut_specs(folder, cuts, precision=precision, kv=None)
    vectors: FloatArray = driver.encode([get_backend("torch").compile(spec) for spec in specs], *_padded(folder))
    return vectors


def _reference_hidden(folder: Path) -> tuple[FloatArray, FloatArray]:
    from transformers import AutoModel

    ids, mask, _ = (torch.from_numpy(array) for array in _padded(folder))
    with torch.no_grad():
        hidden = AutoModel.from_pretrained(folder).eval()(ids, attention_mask=mask).last_hidden_state
    return hidden.numpy(), mask[..., None].float().numpy()


@pytest.mark.parametrize("cuts", [(0, 4), (0, 1, 4), (0, 3, 4)], ids=str)
@pytest.mark.parametrize("family", ["bert", "roberta", "distilbert"])
def test_torch_encoder_without_pooling_files_means_over_tokens(
    family: str, cuts: tuple[int, ...], checkpoint: Checkpoints, slice_driver: ModuleType
) -> None:
    folder = checkpoint(family)
    hidden, mask = _reference_hidden(folder)
    wanted = (hidden * mask).sum(1) / mask.sum(1)
    np.testing.assert_allclose(_run(folder, cuts, slice_driver), wanted, atol=1e-5)


def test_torch_encoder_pools_the_first_token_where_the_folder_says_so(
    model_factory: ModuleType, slice_driver: ModuleType, tmp_path: Path
) -> None:
    folder = model_factory.write_checkpoint("distilbert", tmp_path)
    model_factory.write_pooling(folder, "cls", normalized=False)
    np.testing.assert_allclose(_run(folder, (0, 4), slice_driver), _reference_hidden(folder)[0][:, 0], atol=1e-5)


@pytest.mark.parametrize("family", ["bert-classifier", "roberta-classifier", "distilbert-classifier"])
def test_torch_classifier_equals_transformers(family: str, checkpoint: Checkpoints, slice_driver: ModuleType) -> None:
    from transformers import AutoModelForSequenceClassification

    folder = checkpoint(family)
    model = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    ids, mask, _ = (torch.from_numpy(array) for array in _padded(folder))
    with torch.no_grad():
        wanted = model(ids, attention_mask=mask).logits.numpy()
    np.testing.assert_allclose(_run(folder, (0, 2, 4), slice_driver), wanted, atol=1e-5)


def _sentence_transformers(folder: Path) -> FloatArray:
    from sentence_transformers import SentenceTransformer

    return SentenceTransformer(str(folder), device="cpu").encode(TEXTS)


@pytest.mark.parametrize(("precision", "error"), [("fp32", 1e-5), ("bf16", 2e-2), ("fp16", 2e-3)])
def test_torch_minilm_equals_sentence_transformers(
    precision: str, error: float, minilm: Path, slice_driver: ModuleType
) -> None:
    found = _run(minilm, (0, 3, 6), slice_driver, precision)
    np.testing.assert_allclose(found, _sentence_transformers(minilm), atol=error)


def test_torch_random_minilm_equals_sentence_transformers(checkpoint: Checkpoints, slice_driver: ModuleType) -> None:
    folder = checkpoint("minilm")
    np.testing.assert_allclose(_run(folder, (0, 6), slice_driver), _sentence_transformers(folder), atol=1e-5)


def test_torch_minilm_truncates_long_texts_as_sentence_transformers_does(
    minilm: Path, slice_driver: ModuleType
) -> None:
    from sentence_transformers import SentenceTransformer

    text = "the sea is wide and the river is long " * 60
    padded = Tokenizer(minilm).encode_batch_padded([text], read_config(minilm).max_context)
    specs = slice_driver.cut_specs(minilm, (0, 6), kv=None)
    found = slice_driver.encode([get_backend("torch").compile(spec) for spec in specs], *padded)
    wanted = SentenceTransformer(str(minilm), device="cpu").encode([text])
    np.testing.assert_allclose(found, wanted, atol=1e-5)
