"""An exit that is taken at its word: which tokens it says, and that what lies behind it is filled exactly."""

from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from adaptive.modes import ExitMode
from hetero.backends.base import KvSpec
from hetero.engine.requests import Leaving
from hetero.models.source import resolve
from hetero.pipeline.local import LocalPipeline
from placement.types import Device, DeviceKind, Plan, Stage

CPU = Device("cpu", DeviceKind.CPU, ("torch", "openvino", "onnx"), ("fp32",), 2**30)
PROMPTS = ("Once upon a time", "Tom and Sue went", "In the beginning God created", "ROMEO: My lord")
SKIP, RELEASE = Leaving(ExitMode.SKIP, 0.5), Leaving(ExitMode.RELEASE, 0.5)
#: Of the embedded model: the blocks before the exit, and all.
EXIT, END = 4, 6

OpenSite = Callable[..., Any]


def pipeline_of(folder: Path, cuts: tuple[int, ...], depth: int = EXIT, engine: str = "torch") -> LocalPipeline:
    plan = Plan(tuple(Stage(CPU, engine, first, last, "fp32") for first, last in pairwise(cuts)), "a test")
    return LocalPipeline(folder, plan, KvSpec(128, 32, 16, 512), threads=1, draft_depth=depth)


@pytest.fixture(scope="module")
def stages() -> Iterator[LocalPipeline]:
    """The embedded model, whose inner blocks are useful, cut behind its exit and once more."""
    pipeline = pipeline_of(resolve("tiny"), (0, EXIT, 5, END))
    yield pipeline
    pipeline.close()


@pytest.fixture
def open_tiny(open_site_of: OpenSite, stages: LocalPipeline) -> OpenSite:
    def give(lengths: tuple[int, ...] = (4,), **limits: Any) -> Any:
        return open_site_of(resolve("tiny"), stages, draft_lengths=lengths, draft_depth=EXIT, **limits)

    return give


def answers_to(site: Any, leaving: Leaving | None, tokens: int = 60) -> list[tuple[list[int], list[int]]]:
    """Ids and depths of all prompts, asked at once."""
    asked = [site.ask(prompt, max_tokens=tokens, ignore_eos=True, leaving=leaving) for prompt in PROMPTS]
    return [(each.token_ids, [depth for chunk in each.chunks for depth in chunk.depths]) for each in asked]


def test_tokens_do_not_depend_on_how_many_are_pending_nor_on_who_else_runs(open_tiny: OpenSite) -> None:
    """Flushed after each token, after four, with too few blocks, and alone: the same tokens at the same depths."""
    with open_tiny() as site:
        skipped = answers_to(site, SKIP)
        stats = site.engine.stats()
    assert 0 < stats.drafted_tokens == stats.accepted_drafts
    assert stats.steps < 200, "several tokens of a sequence went through the deep blocks at once"
    with open_tiny() as site:
        assert answers_to(site, RELEASE) == skipped
        assert site.engine.stats().drafted_tokens == 0
    with open_tiny(block_count=8, micro_batches=1) as site:
        assert answers_to(site, SKIP) == skipped
        assert site.engine.stats().preemptions > 0
    with open_tiny(lengths=(7,)) as site:
        alone = site.ask(PROMPTS[0], max_tokens=60, ignore_eos=True, leaving=SKIP)
        assert alone.token_ids == skipped[0][0]


def test_exit_says_what_it_is_sure_of_and_full_depth_the_rest(open_tiny: OpenSite) -> None:
    with open_tiny() as site:
        full, sure, unsure = (answers_to(site, Leaving(ExitMode.SKIP, limit)) for limit in (2.0, 0.5, 1e-6))
        verified = answers_to(site, Leaving(ExitMode.OFF))
        exits = site.engine.stats().exits
    assert [ids for ids, _ in full] == [ids for ids, _ in verified]
    assert {depth for _, depths in full for depth in depths} == {END}
    assert {depth for _, depths in sure for depth in depths} == {EXIT, END}
    assert {depth for _, depths in unsure for depth in depths} == {EXIT}
    early = sum(depths.count(EXIT) for _, depths in [*sure, *unsure])
    assert exits is not None
    assert exits.depths[EXIT] == early
    assert sum(exits.depths) == 4 * 4 * 60


def test_rows_of_one_batch_are_verified_skipped_released_sampled_and_cancelled(open_tiny: OpenSite) -> None:
    kinds = (None, SKIP, RELEASE, Leaving(ExitMode.OFF))
    with open_tiny() as site:
        alone = [
            site.ask(prompt, max_tokens=50, leaving=kind, ignore_eos=True).token_ids
            for prompt, kind in zip(PROMPTS, kinds, strict=True)
        ]
        drawn = site.ask(PROMPTS[1], max_tokens=50, temperature=1.0, seed=3, ignore_eos=True).token_ids
    with open_tiny() as site:
        doomed = site.ask(PROMPTS[2], max_tokens=400, leaving=SKIP, ignore_eos=True)
        mixed = [
            site.ask(prompt, max_tokens=50, leaving=kind, ignore_eos=True)
            for prompt, kind in zip(PROMPTS, kinds, strict=True)
        ]
        sampled = site.ask(PROMPTS[1], max_tokens=50, temperature=1.0, seed=3, ignore_eos=True)
        doomed.next_chunk()
        site.engine.cancel(doomed.request_id)
        assert [each.token_ids for each in mixed] == alone
        assert sampled.token_ids == drawn
        assert type(doomed.error).__name__ == "CancelledRequestError"
        site.wait_until_empty()


def test_deep_keys_and_values_are_full_depths_for_the_same_tokens(open_site_of: OpenSite) -> None:
    """Issue 6, point 4: after the flush, at every token's place what full depth alone writes for the same ids."""
    folder = resolve("tiny")
    pipeline = pipeline_of(folder, (0, END))
    deep = pipeline._workers[0]._slice._rest._caches  # type: ignore[attr-defined]

    def written(leaving: Leaving, ids: list[int], tokens: int) -> tuple[list[Any], list[int]]:
        for cache in deep:
            cache.zero_()
        with open_site_of(folder, pipeline, draft_lengths=(7,), draft_depth=EXIT) as site:
            answer = site.ask(ids, max_tokens=tokens, ignore_eos=True, leaving=leaving)
            found = answer.token_ids
        return [cache.clone().flatten(0, 1) for cache in deep], found

    with open_site_of(folder, pipeline) as site:
        prompt = site.tokenizer.encode(PROMPTS[0])
    skipped, ids = written(Leaving(ExitMode.SKIP, 0.2), prompt, 70)
    full, _ = written(Leaving(ExitMode.OFF), prompt + ids[:-1], 1)
    own, _ = written(Leaving(ExitMode.OFF), prompt, 70)
    pipeline.close()
    assert len(full) == 2 * (END - EXIT)
    for one, other, otherwise in zip(full, skipped, own, strict=True):
        places = one.abs().sum(dim=(1, 2)) > 0
        assert places.sum() == len(prompt) + 69
        assert other[places] == pytest.approx(one[places], abs=1e-4)
        assert (otherwise[places] - one[places]).abs().max() > 0.1, "the exit changed tokens, or the test shows nothing"


def test_audited_completion_tells_the_share_that_full_depth_would_not_have_said(open_tiny: OpenSite) -> None:
    """Counted anew: full depth's choice after each prefix of what was emitted."""
    audited = Leaving(ExitMode.SKIP, 0.01, audited=True)
    with open_tiny() as site:
        answer = site.ask(PROMPTS[1], max_tokens=40, ignore_eos=True, leaving=audited)
        ids, share = answer.token_ids, answer.finished.differing
        prompt = site.tokenizer.encode(PROMPTS[1])
        prefixes = [prompt + ids[:count] for count in range(40)]
        full = [site.ask(prefix, max_tokens=1, ignore_eos=True, leaving=Leaving()) for prefix in prefixes]
        differing = sum(each.token_ids != [said] for each, said in zip(full, ids, strict=True))
        assert site.ask(PROMPTS[1], max_tokens=4, leaving=SKIP).finished.differing is None
    assert share == pytest.approx(differing / 40)
    assert 0 < differing < 40


def test_every_engine_takes_the_exit_at_its_word(open_site: OpenSite, stories260k: Path) -> None:
    """Across stages and engines; the exit of stories260k is bad, which shows in what it says, not in what is filled."""
    found = []
    for cuts, engine in (((0, 5), "torch"), ((0, 3, 5), "openvino"), ((0, 5), "onnx")):
        pipeline = pipeline_of(stories260k, cuts, 2, engine)
        with open_site(pipeline, draft_lengths=(3,), draft_depth=2) as site:
            found.append(answers_to(site, Leaving(ExitMode.SKIP, 0.4), 40))
        pipeline.close()
    assert found[0] == found[1] == found[2]


def test_exits_words_come_before_the_deep_blocks_have_run(open_site_of: OpenSite) -> None:
    """On two stages and two batches in flight the next step begins meanwhile; tokens and depths stay the same."""
    found, early = [], []
    for cuts in ((0, END), (0, EXIT, END)):
        pipeline = pipeline_of(resolve("tiny"), cuts)
        collect = pipeline.collect

        def watched(seconds: float, collect: Callable[..., Any] = collect) -> Any:
            result = collect(seconds)
            if result is not None:
                early.append(result.early)
            return result

        pipeline.collect = watched  # type: ignore[method-assign]
        limits = {"draft_lengths": (4,), "draft_depth": EXIT, "micro_batches": 2, "block_count": 10}
        with open_site_of(resolve("tiny"), pipeline, **limits) as site:
            found.append([answers_to(site, kind) for kind in (RELEASE, SKIP)])
            assert sum(early) == 0 or len(cuts) == 3
            site.wait_until_empty()
        pipeline.close()
    assert found[0] == found[1]
    assert sum(early) > 10
