"""Completions of a real model, whole pipelines under them, against `generate` of transformers."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, LlamaForCausalLM

from hetero.models.tokenizer import Tokenizer
from hetero.pipeline.local import LocalPipeline
from hetero.types import FinishReason

PROMPTS = [
    "Once",
    "Once upon a time, there was a little girl named Lily.",
    "The big red dog",
    "Tom and Ben went to the park with their mom. They saw a big tree and wanted to climb it. " * 4,
    "One day, a bird found",
    "Sara had a box. In the box there was a toy car. She liked to play with it every day, and then",
]
STORY = PROMPTS[1]
Reference = Callable[..., list[int]]
# Any fixture of conftest.py that opens an engine; tests are no packages, so its type is not imported.
OpenSite = Any


@pytest.fixture(scope="module")
def model(stories260k: Path) -> LlamaForCausalLM:
    return AutoModelForCausalLM.from_pretrained(stories260k, dtype=torch.float32).eval()


@pytest.fixture(scope="module")
def reference(model: LlamaForCausalLM, stories260k: Path) -> Reference:
    """`reference(prompt, count, **options)`: token ids by `generate`, greedy unless told otherwise."""
    tokenizer = Tokenizer(stories260k)

    def give(prompt: str, count: int, **options: Any) -> list[int]:
        ids = torch.tensor([tokenizer.encode(prompt)])
        settings = {"do_sample": False, "eos_token_id": None, "pad_token_id": 0} | options
        out = model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=count, **settings)
        return list(out[0, ids.shape[1] :].tolist())

    return give


@pytest.fixture(scope="module")
def greedy(reference: Reference) -> list[list[int]]:
    return [reference(prompt, 128) for prompt in PROMPTS]


def text_of(site: Any, prompt: str, token_ids: list[int]) -> str:
    """What `token_ids` add to the prompt's text, its first space included."""
    before = site.tokenizer.encode(prompt)
    return str(site.tokenizer.decode([*before, *token_ids]).removeprefix(site.tokenizer.decode(before)))


@pytest.mark.parametrize("limits", [{}, {"max_batch_tokens": 16, "max_sequences": 4}, {"max_sequences": 1}], ids=str)
@pytest.mark.parametrize("stages", ["one_stage", "three_stages"])
def test_greedy_tokens_of_a_batch_equal_those_of_transformers(
    stages: str, limits: dict[str, int], greedy: list[list[int]], open_site: OpenSite, request: pytest.FixtureRequest
) -> None:
    with open_site(request.getfixturevalue(stages), **limits) as site:
        answers = [site.ask(prompt, max_tokens=128, ignore_eos=True) for prompt in PROMPTS]
        assert [answer.token_ids for answer in answers] == greedy
        assert [answer.text for answer in answers] == [
            text_of(site, *pair) for pair in zip(PROMPTS, greedy, strict=True)
        ]
        assert site.is_empty()


@pytest.mark.parametrize("stages", ["one_stage", "three_stages"])
def test_preemption_under_a_tiny_block_pool_changes_no_token(
    stages: str, greedy: list[list[int]], open_site: OpenSite, request: pytest.FixtureRequest
) -> None:
    with open_site(request.getfixturevalue(stages), block_count=13, max_sequences=6) as site:
        answers = [site.ask(prompt, max_tokens=128, ignore_eos=True) for prompt in PROMPTS]
        assert [answer.token_ids for answer in answers] == greedy
        assert site.engine.stats().preemptions > 0
        assert site.is_empty()


def test_a_repetition_penalty_covers_prompt_and_completion_as_in_transformers(
    reference: Reference, open_site: OpenSite, one_stage: LocalPipeline
) -> None:
    with open_site(one_stage) as site:
        answer = site.ask(STORY, max_tokens=60, repetition_penalty=1.3, ignore_eos=True)
        assert answer.token_ids == reference(STORY, 60, repetition_penalty=1.3)


def test_a_seed_gives_the_same_tokens_alone_in_a_batch_preempted_and_over_stages(
    open_site: OpenSite, one_stage: LocalPipeline, three_stages: LocalPipeline
) -> None:
    sampling = {"max_tokens": 64, "temperature": 0.9, "top_p": 0.95, "ignore_eos": True}
    with open_site(one_stage) as site:
        alone = site.ask(STORY, seed=7, **sampling).token_ids
        others = [site.ask(prompt, seed=seed, **sampling) for seed, prompt in enumerate(PROMPTS)]
        assert site.ask(STORY, seed=7, **sampling).token_ids == alone
        assert site.ask(STORY, seed=8, **sampling).token_ids != alone
        assert all(other.finished for other in others)
    with open_site(three_stages, block_count=9) as site:
        crowd = [site.ask(prompt, seed=seed, **sampling) for seed, prompt in enumerate(PROMPTS)]
        again = site.ask(STORY, seed=7, **sampling)
        assert again.token_ids == alone
        assert [each.token_ids for each in crowd] == [other.token_ids for other in others]
        assert site.engine.stats().preemptions > 0


def test_the_seed_that_was_drawn_is_reported_and_repeats_the_completion(
    open_site: OpenSite, one_stage: LocalPipeline
) -> None:
    with open_site(one_stage) as site:
        first, second = (site.ask(STORY, max_tokens=40, temperature=1.0) for _ in range(2))
        assert first.finished.seed != second.finished.seed
        again = site.ask(STORY, max_tokens=40, temperature=1.0, seed=first.finished.seed)
        assert again.token_ids == first.token_ids


def test_logprobs_are_the_models_own(model: LlamaForCausalLM, open_site: OpenSite, one_stage: LocalPipeline) -> None:
    with open_site(one_stage) as site:
        answer = site.ask(STORY, max_tokens=24, temperature=0.5, seed=1, logprobs=3, ignore_eos=True)
        prompt, ids = site.tokenizer.encode(STORY), answer.token_ids
    with torch.no_grad():
        logits = model(torch.tensor([prompt + ids])).logits[0, len(prompt) - 1 : -1]
    expected = torch.log_softmax(logits, -1)
    assert [each.token_id for each in answer.logprobs] == ids
    np.testing.assert_allclose(
        [each.logprob for each in answer.logprobs], expected[torch.arange(24), torch.tensor(ids)].numpy(), atol=1e-3
    )
    top = torch.topk(expected, 3).indices.tolist()
    assert [[token_id for token_id, _ in each.alternatives] for each in answer.logprobs] == top


def test_without_logprobs_there_are_none(open_site: OpenSite, one_stage: LocalPipeline) -> None:
    with open_site(one_stage) as site:
        assert site.ask(STORY, max_tokens=5).logprobs == []


def test_a_stop_string_ends_the_text_before_it(
    greedy: list[list[int]], open_site: OpenSite, one_stage: LocalPipeline
) -> None:
    with open_site(one_stage) as site:
        whole = text_of(site, STORY, greedy[1])
        answer = site.ask(STORY, max_tokens=128, stop=("zebra", "park. One", "very"))
        assert answer.reason is FinishReason.STOP
        assert answer.text == whole[: whole.index("park. One")]
        assert answer.token_ids == greedy[1][: len(answer.token_ids)]
        assert answer.finished.completion_tokens == len(answer.token_ids) < 128
        assert "park. One" in site.tokenizer.decode(answer.token_ids)


def test_text_that_only_begins_a_stop_string_is_told_in_the_end(
    greedy: list[list[int]], open_site: OpenSite, one_stage: LocalPipeline
) -> None:
    with open_site(one_stage) as site:
        whole = text_of(site, STORY, greedy[1][:30])
        answer = site.ask(STORY, max_tokens=30, stop=(whole[-5:] + "\0", "park. Two"))
        assert (answer.reason, answer.text) == (FinishReason.LENGTH, whole)


def test_a_stop_id_ends_the_completion_without_its_text(
    greedy: list[list[int]], open_site: OpenSite, one_stage: LocalPipeline
) -> None:
    stop_id = greedy[1][20]
    first = greedy[1].index(stop_id)
    with open_site(one_stage) as site:
        answer = site.ask(STORY, max_tokens=128, stop_token_ids=(stop_id,), ignore_eos=True)
        assert answer.reason is FinishReason.EOS
        assert answer.token_ids == greedy[1][: first + 1]
        assert answer.text == text_of(site, STORY, greedy[1][:first])


def test_the_models_own_end_ends_the_completion_unless_ignored(
    reference: Reference, open_site: OpenSite, one_stage: LocalPipeline
) -> None:
    expected = reference(STORY, 400, eos_token_id=1)
    assert len(expected) < 400 and expected[-1] == 1
    with open_site(one_stage) as site:
        answer = site.ask(STORY, max_tokens=400, stop_token_ids=(1,))
        assert (answer.reason, answer.token_ids) == (FinishReason.EOS, expected)
        longer = site.ask(STORY, max_tokens=len(expected) + 5, ignore_eos=True)
        assert (longer.reason, longer.token_ids[:-5]) == (FinishReason.LENGTH, expected)


@pytest.mark.parametrize("count", [1, 2, 33])
def test_just_as_many_tokens_come_as_were_asked_for(count: int, open_site: OpenSite, one_stage: LocalPipeline) -> None:
    with open_site(one_stage) as site:
        answer = site.ask(STORY, max_tokens=count, ignore_eos=True)
        assert len(answer.token_ids) == answer.finished.completion_tokens == count
        assert answer.finished.prompt_tokens == len(site.tokenizer.encode(STORY))
        assert [chunk.finish_reason for chunk in answer.chunks][-1] is FinishReason.LENGTH
        assert all(chunk.finish_reason is None for chunk in answer.chunks[:-1])


def test_a_request_that_fills_the_context_and_the_cache_to_the_last_token_is_served(
    open_site: OpenSite, one_stage: LocalPipeline
) -> None:
    with open_site(one_stage, block_count=4, max_context=129) as site:
        answer = site.ask([5] * 100, max_tokens=29, ignore_eos=True)
        assert len(answer.token_ids) == 29 and site.is_empty()


def test_timings_are_those_of_the_clock(open_site: OpenSite, one_stage: LocalPipeline) -> None:
    with open_site(one_stage, max_sequences=1) as site:
        first, queued = (site.ask(STORY, max_tokens=50, ignore_eos=True) for _ in range(2))
        early, late = first.finished.timings, queued.finished.timings
    assert 0 <= early.queue_seconds < early.ttft_seconds < late.queue_seconds < late.ttft_seconds
    assert 0 < early.itl_seconds_median < 1
    assert early.tokens_per_second > 0


def test_the_counts_are_those_of_what_was_served(open_site: OpenSite, one_stage: LocalPipeline) -> None:
    with open_site(one_stage) as site:
        for prompt in PROMPTS[:3]:
            assert site.ask(prompt, max_tokens=10, ignore_eos=True).finished
        stats = site.engine.stats()
        prompt_tokens = sum(len(site.tokenizer.encode(prompt)) for prompt in PROMPTS[:3])
    assert (stats.finished, stats.failed, stats.preemptions) == (3, 0, 0)
    assert (stats.prompt_tokens, stats.completion_tokens) == (prompt_tokens, 30)
    assert (stats.computed_tokens, stats.steps) == (prompt_tokens + 27, 30)
