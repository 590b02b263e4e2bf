"""With drafts the engine gives the tokens of full depth, one for one, whatever the exit proposes."""

from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from hetero.backends.base import KvSpec
from hetero.models.source import resolve
from hetero.pipeline.local import LocalPipeline
from placement.types import Device, DeviceKind, Plan, Stage

CPU = Device("cpu", DeviceKind.CPU, ("torch", "openvino", "onnx"), ("fp32",), 2**30)
PROMPTS = ("Once upon a time", "Tom and Sue went", "In the beginning God created", "ROMEO: My lord")

OpenSite = Callable[..., Any]


def drafting_pipeline(folder: Path, engine: str, cuts: tuple[int, ...], depth: int) -> LocalPipeline:
    plan = Plan(tuple(Stage(CPU, engine, first, last, "fp32") for first, last in pairwise(cuts)), "a test")
    return LocalPipeline(folder, plan, KvSpec(128, 32, 16, 512), threads=1, draft_depth=depth)


@pytest.fixture(
    scope="module",
    params=[("torch", (0, 2, 4, 5), 2), ("openvino", (0, 5), 2), ("onnx", (0, 3, 5), 1), ("openvino", (0, 2, 5), 2)],
    ids=["exit-at-cut", "one-stage", "exit-inside", "two-stages"],
)
def drafting_stages(request: pytest.FixtureRequest, stories260k: Path) -> Iterator[LocalPipeline]:
    pipeline = drafting_pipeline(stories260k, *request.param)
    yield pipeline
    pipeline.close()


def completions(open_site: OpenSite, pipeline: LocalPipeline, lengths: tuple[int, ...], **limits: Any) -> list[Any]:
    """Four requests at once: greedy, sampled with log-probabilities, penalised, and one that ends at a stop string."""
    with open_site(pipeline, draft_lengths=lengths, draft_confidence=0.0, **limits) as site:
        answers = [
            site.ask(PROMPTS[0], max_tokens=90, ignore_eos=True),
            site.ask(PROMPTS[1], max_tokens=80, temperature=0.9, top_p=0.95, seed=5, logprobs=2, ignore_eos=True),
            site.ask(PROMPTS[2], max_tokens=70, repetition_penalty=1.3, ignore_eos=True),
            site.ask(PROMPTS[3], max_tokens=60, stop=("\n", "the"), temperature=0.5, seed=1),
        ]
        found = [(answer.token_ids, answer.text, answer.reason) for answer in answers]
        logprobs = [each.logprob for each in answers[1].logprobs]
        site.wait_until_empty()
        return [found, logprobs, site.engine.stats()]


@pytest.mark.parametrize("limits", [{}, {"block_count": 12}, {"micro_batches": 2}], ids=["roomy", "tight", "two"])
def test_drafts_change_no_token_of_any_request(
    open_site: OpenSite, drafting_stages: LocalPipeline, limits: dict[str, int]
) -> None:
    plain, plain_logprobs, before = completions(open_site, drafting_stages, (), **limits)
    drafted, drafted_logprobs, after = completions(open_site, drafting_stages, (3,), **limits)
    assert drafted == plain
    assert drafted_logprobs == pytest.approx(plain_logprobs, abs=1e-4)
    assert before.drafted_tokens == 0
    assert after.drafted_tokens > 0


def test_good_exit_saves_steps_and_the_tokens_stay(open_site_of: OpenSite) -> None:
    """The embedded model was trained to be useful at its inner blocks."""
    folder = resolve("tiny")
    pipeline = drafting_pipeline(folder, "torch", (0, 6), 4)
    found = []
    for lengths in ((), (4,)):
        with open_site_of(folder, pipeline, draft_lengths=lengths, draft_depth=4) as site:
            answer = site.ask(PROMPTS[0], max_tokens=120, ignore_eos=True)
            depths = [depth for chunk in answer.wait().chunks for depth in chunk.depths]
            found.append((answer.token_ids, site.engine.stats()))
    pipeline.close()
    (plain, before), (drafted, after) = found
    assert drafted == plain
    assert after.accepted_drafts > 0.6 * after.drafted_tokens
    assert after.steps < 0.8 * before.steps
    assert depths.count(4) == after.accepted_drafts
    assert depths.count(6) == 120 - after.accepted_drafts
    assert after.exits is not None
    assert after.exits.depths == (0, 0, 0, 0, after.accepted_drafts, 0, 120 - after.accepted_drafts)
    assert before.exits is not None
    assert before.exits.depths[6] == 120


def test_hundred_prompts_among_sampled_ones_have_full_depths_tokens(open_site_of: OpenSite) -> None:
    """Greedy, and between them drawn under a seed: not only the distribution, every drawn token is the same."""
    folder = resolve("tiny")
    pipeline = drafting_pipeline(folder, "openvino", (0, 6), 2)
    prompts = [f"{PROMPTS[number % 4]} {number} " for number in range(100)]
    found = []
    for lengths in ((), (3,)):
        with open_site_of(folder, pipeline, draft_lengths=lengths) as site:
            answers = [site.ask(prompt, max_tokens=10, ignore_eos=True) for prompt in prompts]
            answers += [site.ask(text, max_tokens=12, temperature=1.0, seed=i) for i, text in enumerate(prompts[:50])]
            found.append([answer.token_ids for answer in answers])
            drafted = site.engine.stats().drafted_tokens
    pipeline.close()
    assert found[0] == found[1]
    assert drafted > 200


def test_deep_keys_and_values_are_full_depths_for_the_same_tokens(open_site_of: OpenSite) -> None:
    """What the pass over drafts leaves behind: at every token's place what a step for that token alone would have."""
    folder = resolve("tiny")
    pipeline = drafting_pipeline(folder, "torch", (0, 6), 2)
    deep = pipeline._workers[0]._slice._rest._caches  # type: ignore[attr-defined]
    left = []
    for lengths in ((), (4,)):
        for cache in deep:
            cache.zero_()
        with open_site_of(folder, pipeline, draft_lengths=lengths, draft_confidence=0.0) as site:
            answer = site.ask(PROMPTS[0], max_tokens=70, ignore_eos=True).wait()
            drafted, accepted = site.engine.stats().drafted_tokens, site.engine.stats().accepted_drafts
        left.append(([cache.clone() for cache in deep], answer.token_ids))
    pipeline.close()
    (plain, plain_ids), (after, ids) = left
    assert ids == plain_ids
    assert drafted > accepted > 0
    assert len(plain) == 2 * 4
    for one, other in zip(plain, after, strict=True):
        written = one.flatten(0, 1).abs().sum(dim=(1, 2)) > 0
        assert written.sum() == len(site.tokenizer.encode(PROMPTS[0])) + 69
        assert other.flatten(0, 1)[written] == pytest.approx(one.flatten(0, 1)[written], abs=1e-4)
