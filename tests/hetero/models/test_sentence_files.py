"""Folders of sentence-transformers as they lie on the hub: vectors equal its own, and what is not done is refused."""

import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from hetero.backends import get_backend
from hetero.errors import ModelError
from hetero.models.config_reader import read_config
from hetero.models.tokenizer import Tokenizer

Checkpoints = Callable[..., Path]
TEXTS = ["The CAT beside the River", "a", "Wisdom, and the age of foolishness; " * 12]
LENGTH = {"max_seq_length": 24}
#: Name to (family, JSON files laid over the folder's own).
FOLDERS: dict[str, tuple[str, dict[str, dict[str, Any]]]] = {
    "length by the older name": ("roberta", {"sentence_roberta_config.json": LENGTH}),
    "length by the tokenizer": ("bert", {"tokenizer_config.json": {"model_max_length": 24}}),
    "no length at all": ("distilbert", {"tokenizer_config.json": {"model_max_length": 1e30}}),
    "small letters": ("roberta", {"sentence_bert_config.json": LENGTH | {"do_lower_case": True}}),
    "case by the tokenizer": ("bert", {"tokenizer_config.json": {"tokenizer_class": "BertTokenizer",
                                                                 "do_lower_case": False}}),
    "cut on the left": ("bert", {"sentence_bert_config.json": LENGTH,
                                 "tokenizer_config.json": {"truncation_side": "left"}}),
    "first token, of length 1": ("bert", {"1_Pooling/config.json": {"pooling_mode_cls_token": True,
                                                                    "pooling_mode_mean_tokens": False}}),
    "no mode is the mean": ("bert", {"1_Pooling/config.json": {"pooling_mode_mean_tokens": False}}),
    "prompts that are not used": ("bert", {"config_sentence_transformers.json":
                                           {"prompts": {"query": "query: "}, "default_prompt_name": None}}),
}  # fmt: skip


def _write(folder: Path, files: dict[str, dict[str, Any]]) -> Path:
    for name, values in files.items():
        path = folder / name
        own = json.loads(path.read_text()) if path.is_file() else {}
        path.write_text(json.dumps(own | values))
    return folder


def _make(factory: ModuleType, family: str, folder: Path) -> Path:
    blocks = "n_layers" if family == "distilbert" else "num_hidden_layers"
    factory.write_checkpoint(family, folder, **{blocks: 2})
    factory.write_pooling(folder, "mean", normalized=True)
    return folder


@pytest.mark.parametrize("name", FOLDERS)
def test_sentence_folder_gives_the_vectors_of_sentence_transformers(
    name: str, model_factory: ModuleType, slice_driver: ModuleType, tmp_path: Path
) -> None:
    from sentence_transformers import SentenceTransformer

    family, files = FOLDERS[name]
    folder = _write(_make(model_factory, family, tmp_path), files)
    padded = Tokenizer(folder).encode_batch_padded(TEXTS, read_config(folder).max_context)
    [spec] = slice_driver.cut_specs(folder, (0, 2), kv=None)
    found = slice_driver.encode([get_backend("torch").compile(spec)], *padded)
    wanted = SentenceTransformer(str(folder), device="cpu").encode(TEXTS)
    np.testing.assert_allclose(found, wanted, atol=1e-5)


@pytest.mark.parametrize(
    ("files", "named"),
    [
        ({"1_Pooling/config.json": {"pooling_mode_max_tokens": True}}, "use a model with mean or CLS pooling"),
        ({"1_Pooling/config.json": {"pooling_mode": "mean_sqrt_len_tokens"}}, "use a model with mean or CLS pooling"),
        (
            {"config_sentence_transformers.json": {"prompts": {"query": "q: "}, "default_prompt_name": "query"}},
            "'default_prompt_name' is 'query', which is not supported",
        ),
    ],
)
def test_sentence_folder_that_asks_for_more_is_refused(
    files: dict[str, dict[str, Any]], named: str, model_factory: ModuleType, tmp_path: Path
) -> None:
    folder = _write(_make(model_factory, "bert", tmp_path), files)
    with pytest.raises(ModelError, match=named):
        read_config(folder)


def test_sentence_folder_with_its_transformer_elsewhere_is_refused(checkpoint: Checkpoints, tmp_path: Path) -> None:
    folder = tmp_path / "copy"
    folder.mkdir()
    (folder / "config.json").write_text((checkpoint("bert") / "config.json").read_text())
    kept = [{"type": "sentence_transformers.models.Transformer", "path": "0_Transformer"}]
    (folder / "modules.json").write_text(json.dumps(kept))
    with pytest.raises(ModelError, match="keeps the transformer in 0_Transformer: move its files"):
        read_config(folder)
