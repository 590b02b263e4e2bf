"""Greedy tokens and vectors of every family equal those of `transformers`, on the CPU in fp32:
for each engine alone, and for every cut into two stages with every pair of engines on its sides.
"""

from collections.abc import Callable, Iterator
from functools import cache
from itertools import product
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
import transformers

from hetero.backends import get_backend
from hetero.backends.base import CompiledSlice

ENGINES = ("openvino", "torch", "onnx")
DECODERS = ("stories260k", "llama", "smollm", "mistral", "qwen2", "qwen3", "gpt2")
ENCODERS = ("all-MiniLM-L6-v2", "bert", "minilm", "roberta", "distilbert")
CLASSIFIERS = ("bert-classifier", "roberta-classifier", "distilbert-classifier")
TOKENS = 128
PROMPT_LENGTHS = (1, 37, 70)

Combination = tuple[tuple[str, int, int], ...]
Checkpoints = Callable[..., Path]
SliceMaker = Callable[[str, int, int], CompiledSlice]


def combinations(blocks: int) -> list[Combination]:
    """Each engine alone, then every cut into two with every pair of engines."""
    alone: list[Combination] = [((engine, 0, blocks),) for engine in ENGINES]
    pairs = product(range(1, blocks), ENGINES, ENGINES)
    return alone + [((left, 0, cut), (right, cut, blocks)) for cut, left, right in pairs]


@pytest.fixture(params=DECODERS + ENCODERS + CLASSIFIERS)
def family(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def folder(family: str, checkpoint: Checkpoints, stories260k: Path, minilm: Path) -> Path:
    """The real weights of the two models that are named in full, else a small random checkpoint."""
    return {"stories260k": stories260k, "all-MiniLM-L6-v2": minilm}.get(family) or checkpoint(family)


@pytest.fixture
def compiled(folder: Path, slice_driver: ModuleType, family: str) -> Iterator[SliceMaker]:
    """Compiles each slice of each engine once, whatever combinations it is used in."""
    made: list[CompiledSlice] = []

    @cache
    def make(engine: str, first: int, last: int) -> CompiledSlice:
        kv = slice_driver.KV if family in DECODERS else None
        [spec] = slice_driver.cut_specs(folder, (first, last), kv=kv)
        made.append(get_backend(engine).compile(spec))
        return made[-1]

    yield make
    for piece in made:
        piece.close()


def prompts_for(vocabulary: int) -> list[list[int]]:
    generator = np.random.default_rng(5)
    return [generator.integers(3, vocabulary, length).tolist() for length in PROMPT_LENGTHS]


def reference_tokens(folder: Path, prompts: list[list[int]]) -> list[list[int]]:
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    return [reference_continuation(model, prompt) for prompt in prompts]


def reference_continuation(model: Any, prompt: list[int]) -> list[int]:
    """Greedy without stopping at the end-of-sequence id, which a random model may well draw."""
    out = model.generate(
        torch.tensor([prompt]), max_new_tokens=TOKENS, min_new_tokens=TOKENS, do_sample=False, eos_token_id=None
    )
    continuation: list[int] = out[0, len(prompt) :].tolist()
    return continuation


def block_count(folder: Path) -> int:
    config = transformers.AutoConfig.from_pretrained(folder)
    return int(config.num_hidden_layers)


@pytest.mark.slow
@pytest.mark.parametrize("family", DECODERS, indirect=True)
def test_greedy_tokens_equal_transformers_in_every_combination(
    family: str, folder: Path, compiled: SliceMaker, slice_driver: ModuleType, model_factory: ModuleType
) -> None:
    prompts = prompts_for(model_factory.VOCABULARY)  # every other model's vocabulary is larger
    expected = reference_tokens(folder, prompts)
    for combination in combinations(block_count(folder)):
        chain = slice_driver.Chain([compiled(*part) for part in combination])
        assert chain.greedy(prompts, TOKENS) == expected, combination


def padded(lengths: tuple[int, ...], vocabulary: int, pad: int) -> tuple[np.ndarray, np.ndarray]:
    """Random ids [B, L] with padding, and their mask."""
    generator = np.random.default_rng(6)
    ids = np.full((len(lengths), max(lengths)), pad, np.int64)
    for row, length in enumerate(lengths):
        ids[row, :length] = generator.integers(5, vocabulary, length)
    return ids, (np.arange(max(lengths)) < np.array(lengths)[:, None]).astype(np.int64)


def reference_vectors(folder: Path, ids: np.ndarray, mask: np.ndarray, *, classifies: bool) -> np.ndarray:
    """Class logits, or means of the last hidden states over the real tokens, by `transformers`.

    The means are of length 1 where the folder's own files ask for that, as all-MiniLM's do.
    """
    kind = transformers.AutoModelForSequenceClassification if classifies else transformers.AutoModel
    model = kind.from_pretrained(folder, dtype=torch.float32).eval()
    with torch.no_grad():
        out = model(input_ids=torch.tensor(ids), attention_mask=torch.tensor(mask))
    if classifies:
        return np.asarray(out.logits)
    weights = mask[..., None] / mask.sum(axis=1)[:, None, None]
    means = np.asarray((out.last_hidden_state.numpy() * weights).sum(axis=1))
    return means / np.linalg.norm(means, axis=1, keepdims=True) if normalizes(folder) else means


def normalizes(folder: Path) -> bool:
    modules = folder / "modules.json"
    return modules.exists() and "Normalize" in modules.read_text()


@pytest.mark.slow
@pytest.mark.parametrize("family", ENCODERS + CLASSIFIERS, indirect=True)
def test_vectors_equal_transformers_in_every_combination(
    family: str, folder: Path, compiled: SliceMaker, slice_driver: ModuleType, model_factory: ModuleType
) -> None:
    config = transformers.AutoConfig.from_pretrained(folder)
    ids, mask = padded((3, 17, 40), model_factory.VOCABULARY, config.pad_token_id)
    expected = reference_vectors(folder, ids, mask, classifies=family in CLASSIFIERS)
    for combination in combinations(block_count(folder)):
        found = slice_driver.encode([compiled(*part) for part in combination], ids, mask, np.zeros_like(ids))
        np.testing.assert_allclose(found, expected, atol=2e-5, err_msg=str(combination))
