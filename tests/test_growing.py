"""The model of `examples/train_drafter.py` computes at first what the embedded one does."""

import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
import torch
from transformers import LlamaForCausalLM

from hetero.models.source import resolve


@pytest.fixture
def drafter_model(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    monkeypatch.syspath_prepend(str(Path(__file__).parent.parent / "examples"))
    import drafter_model

    yield drafter_model
    sys.modules.pop("drafter_model")


def test_grown_model_says_what_the_small_one_does_at_its_exit_and_at_its_end(drafter_model: ModuleType) -> None:
    small = LlamaForCausalLM.from_pretrained(resolve("tiny"), dtype=torch.float32)
    large = drafter_model.grown(small)
    tokens = torch.arange(40)[None]
    with torch.no_grad():
        hidden = small.model(tokens, output_hidden_states=True).hidden_states
        inner, last = drafter_model.exit_and_last(large, tokens)
        exit_of_small = small.lm_head(small.model.norm(hidden[drafter_model.EXIT]))
        assert last == pytest.approx(small(tokens).logits, abs=1e-3)
    assert inner == pytest.approx(exit_of_small, abs=1e-3)
    assert 30e6 < sum(weight.numel() for weight in large.parameters()) < 60e6
