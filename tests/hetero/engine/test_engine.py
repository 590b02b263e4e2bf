"""What the engine does when things end early or go wrong: cancelling, deadlines, full queues, broken stages, sinks."""

import random
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from hetero.batch import Batch, BatchResult, DecodeBatch
from hetero.engine.engine import Engine
from hetero.engine.requests import Failed, Finished, GenerateRequest
from hetero.engine.settings import EngineSettings
from hetero.errors import (
    BackendError,
    CancelledRequestError,
    InvalidRequestError,
    OverloadedError,
    PromptTooLongError,
    StageLostError,
)
from hetero.models.config_reader import read_config
from hetero.pipeline.local import LocalPipeline
from hetero.types import SamplingParams

STORY = "Once upon a time, there was a little girl named Lily."
OpenSite = Any
LONG = {"max_tokens": 480, "ignore_eos": True}


def test_a_cancelled_request_frees_its_blocks_and_leaves_the_others_alone(
    open_site: OpenSite, three_stages: LocalPipeline
) -> None:
    with open_site(three_stages) as site:
        expected = site.ask(STORY, max_tokens=150, ignore_eos=True).token_ids
        doomed, other = site.ask(STORY, **LONG), site.ask(STORY, max_tokens=150, ignore_eos=True)
        doomed.next_chunk()
        site.engine.cancel(doomed.request_id)
        assert isinstance(doomed.error, CancelledRequestError)
        assert other.token_ids == expected
        site.wait_until_empty()
        assert len(doomed.token_ids) < 480


def test_cancelling_in_the_middle_of_a_batch_gives_the_blocks_back_when_it_returns(
    open_site: OpenSite, one_stage: LocalPipeline
) -> None:
    held = HeldPipeline(one_stage)
    with open_site(held) as site:
        answer = site.ask(STORY, **LONG)
        site.wait_until(lambda: site.engine.stats().batches_in_flight == 1)
        site.engine.cancel(answer.request_id)
        assert isinstance(answer.error, CancelledRequestError)
        assert site.engine.stats().free_blocks < site.engine.stats().total_blocks
        held.gate.set()
        site.wait_until_empty()
        assert site.engine.stats().steps == 1


class HeldPipeline:
    """A real pipeline whose results wait for a gate."""

    def __init__(self, pipeline: LocalPipeline) -> None:
        self.pipeline, self.reports, self.depth = pipeline, pipeline.reports, pipeline.depth
        self.gate = threading.Event()

    def submit(self, batch: Batch) -> None:
        self.pipeline.submit(batch)

    def collect(self, timeout_seconds: float) -> BatchResult | None:
        if not self.gate.wait(timeout_seconds):
            return None
        return self.pipeline.collect(timeout_seconds)

    def close(self) -> None:
        self.pipeline.close()


class SpoilingPipeline(HeldPipeline):
    """A real pipeline that spoils the n-th batch, so that its first stage really fails on it."""

    def __init__(self, pipeline: LocalPipeline, spoil: int) -> None:
        super().__init__(pipeline)
        self.gate.set()
        self.left = spoil

    def submit(self, batch: Batch) -> None:
        self.left -= 1
        if self.left == 0 and isinstance(batch, DecodeBatch):
            batch = replace(batch, token_ids=batch.token_ids + 10**6)
        super().submit(batch)


@pytest.mark.parametrize("spoil", [1, 5])
def test_a_batch_error_fails_its_requests_alone_and_the_engine_goes_on(
    spoil: int, open_site: OpenSite, three_stages: LocalPipeline
) -> None:
    with open_site(SpoilingPipeline(three_stages, spoil)) as site:
        answers = [site.ask(STORY, max_tokens=20, ignore_eos=True) for _ in range(3)]
        failed = [answer for answer in answers if isinstance(answer.wait().last, Failed)]
        assert 1 <= len(failed) < 3
        assert all(isinstance(answer.error, BackendError) for answer in failed)
        site.wait_until_empty()
        assert len(site.ask(STORY, max_tokens=20, ignore_eos=True).token_ids) == 20
        assert site.engine.stats().failed == len(failed)


def test_a_lost_stage_fails_all_requests_and_later_ones_are_refused(
    open_site: OpenSite, fresh_pipeline: LocalPipeline
) -> None:
    with open_site(fresh_pipeline, max_sequences=2) as site:
        answers = [site.ask(STORY, **LONG) for _ in range(4)]
        answers[0].next_chunk()
        fresh_pipeline.close()
        assert all(isinstance(answer.error, StageLostError) for answer in answers)
        site.wait_until_empty()
        with pytest.raises(StageLostError):
            site.ask(STORY)


@pytest.mark.parametrize("deadline_seconds", [0.0, 0.15])
def test_a_request_ends_at_its_deadline(deadline_seconds: float, open_site: OpenSite, one_stage: LocalPipeline) -> None:
    with open_site(HeldPipeline(one_stage)) as site:
        answer = site.ask(STORY, deadline_seconds, **LONG)
        assert isinstance(answer.error, CancelledRequestError) and "deadline" in str(answer.error)
        site.pipeline.gate.set()
        site.wait_until_empty()


def test_a_request_that_waits_ends_at_its_deadline_and_one_in_time_is_served(
    open_site: OpenSite, one_stage: LocalPipeline
) -> None:
    with open_site(one_stage, max_sequences=1) as site:
        running = site.ask(STORY, deadline_seconds=60, **LONG)
        waiting = site.ask(STORY, deadline_seconds=0.05, **LONG)
        assert isinstance(waiting.error, CancelledRequestError)
        assert running.last is None and len(running.token_ids) == 480


def test_a_full_queue_refuses_and_takes_again_when_there_is_room(open_site: OpenSite, one_stage: LocalPipeline) -> None:
    with open_site(one_stage, max_sequences=1, max_waiting=2) as site:
        running = site.ask(STORY, **LONG)
        running.next_chunk()
        waiting = [site.ask(STORY, max_tokens=3) for _ in range(2)]
        with pytest.raises(OverloadedError, match="2 requests"):
            site.ask(STORY, max_tokens=3)
        site.engine.cancel(waiting[0].request_id)
        assert isinstance(waiting[0].error, CancelledRequestError)
        later = site.ask(STORY, max_tokens=3)
        site.engine.cancel(running.request_id)
        assert [len(answer.token_ids) for answer in (waiting[1], later)] == [3, 3]


@pytest.mark.parametrize(
    ("prompt", "sampling", "error"),
    [
        ([], {}, InvalidRequestError),
        ([1, 512], {}, InvalidRequestError),
        ([1, -1], {}, InvalidRequestError),
        ([1], {"max_tokens": 0}, InvalidRequestError),
        ([1], {"temperature": float("nan")}, InvalidRequestError),
        ([1] * 100, {"max_tokens": 1}, PromptTooLongError),
        ([1] * 50, {"max_tokens": 51}, PromptTooLongError),
        ([1] * 40, {"max_tokens": 26}, PromptTooLongError),
    ],
    ids=["empty", "id too high", "id negative", "no tokens", "nan", "prompt over context", "both", "over the cache"],
)
def test_a_request_that_cannot_be_served_is_refused_at_once(
    prompt: list[int], sampling: dict[str, Any], error: type[Exception], open_site: OpenSite, one_stage: LocalPipeline
) -> None:
    with open_site(one_stage, max_context=100, block_count=2) as site:
        with pytest.raises(error):
            site.ask(prompt, **sampling)
        assert site.is_empty() and site.engine.stats().failed == 0
        # 40 + 25 - 1 tokens are just what two blocks hold.
        assert site.ask([1] * 40, max_tokens=25, ignore_eos=True).finished


def test_an_id_in_use_is_refused_and_free_again_at_the_end(open_site: OpenSite, one_stage: LocalPipeline) -> None:
    with open_site(one_stage) as site:
        answer = site.ask(STORY, **LONG)
        again = GenerateRequest(answer.request_id, (1, 2), SamplingParams(max_tokens=2))
        with pytest.raises(InvalidRequestError, match="request-1"):
            site.engine.submit(again, lambda event: None)
        site.engine.cancel(answer.request_id)
        answer.wait()
        site.engine.submit(again, answer.inbox.put)


def test_cancelling_what_is_unknown_or_has_ended_does_nothing(open_site: OpenSite, one_stage: LocalPipeline) -> None:
    with open_site(one_stage) as site:
        answer = site.ask(STORY, max_tokens=2).wait()
        site.engine.cancel("nobody")
        site.engine.cancel(answer.request_id)
        assert len(site.ask(STORY, max_tokens=2).token_ids) == 2
        assert site.engine.stats().failed == 0


@pytest.mark.parametrize("error", [ValueError("sink"), KeyboardInterrupt(), SystemExit(1)], ids=repr)
def test_a_sink_that_raises_ends_its_own_request_alone(
    error: BaseException, open_site: OpenSite, one_stage: LocalPipeline
) -> None:
    calls = []

    def raising(event: object) -> None:
        calls.append(event)
        raise error

    with open_site(one_stage) as site:
        site.engine.submit(GenerateRequest("bad", (5, 6), SamplingParams(**LONG)), raising)
        assert len(site.ask(STORY, max_tokens=30, ignore_eos=True).token_ids) == 30
        site.wait_until_empty()
        assert len(calls) == 1 and site.engine.stats().failed == 1


def test_a_sink_may_submit_and_cancel(open_site: OpenSite, one_stage: LocalPipeline) -> None:
    with open_site(one_stage) as site:
        follower: list[Any] = []

        def chaining(event: object) -> None:
            if not follower:
                follower.append(site.ask(STORY, max_tokens=4, ignore_eos=True))
                site.engine.cancel("first")

        site.engine.submit(GenerateRequest("first", (5, 6), SamplingParams(**LONG)), chaining)
        site.wait_until(lambda: bool(follower))
        assert len(follower[0].token_ids) == 4
        site.wait_until_empty()
        assert site.engine.stats().failed == 1


def test_closing_fails_what_is_left_and_later_requests_are_refused(
    open_site: OpenSite, three_stages: LocalPipeline
) -> None:
    with open_site(three_stages, max_sequences=3) as site:
        answers = [site.ask(STORY, **LONG) for _ in range(5)]
        answers[0].next_chunk()
        site.engine.close()
        assert all(isinstance(answer.error, CancelledRequestError) for answer in answers)
        assert site.is_empty() and three_stages.collect(0.05) is None
        with pytest.raises(CancelledRequestError, match="closed"):
            site.ask(STORY)
        site.engine.cancel(answers[0].request_id)


def test_an_engine_that_never_started_closes_and_fails_what_it_was_given(
    open_site: OpenSite, one_stage: LocalPipeline, stories260k: Path
) -> None:
    with open_site(one_stage) as site:
        settings = EngineSettings(block_count=8, max_context=256)
        unstarted = Engine(one_stage, site.tokenizer, read_config(stories260k), settings)
        events: list[Any] = []
        unstarted.submit(GenerateRequest("early", (5,), SamplingParams()), events.append)
        unstarted.close()
        assert [type(event.error) for event in events] == [CancelledRequestError]


def test_an_engine_of_a_decoder_gives_no_vectors(open_site: OpenSite, one_stage: LocalPipeline) -> None:
    with open_site(one_stage) as site, pytest.raises(InvalidRequestError, match="decoder"):
        site.engine.encode(*[np.ones((1, 1), np.int64)] * 3)


def test_an_idle_engine_uses_no_processor(open_site: OpenSite, one_stage: LocalPipeline) -> None:
    with open_site(one_stage) as site:
        site.ask(STORY, max_tokens=3).wait()
        site.wait_until_empty()
        thread_id = site.engine._thread.native_id
        before = cpu_seconds(thread_id)
        threading.Event().wait(0.5)
        assert cpu_seconds(thread_id) - before <= 0.01


def cpu_seconds(thread_id: int) -> float:
    [thread] = [each for each in psutil.Process().threads() if each.id == thread_id]
    return float(thread.user_time + thread.system_time)


@pytest.mark.parametrize("stages", ["one_stage", "three_stages"])
def test_many_clients_that_come_go_and_cancel_leave_nothing_behind(
    stages: str, open_site: OpenSite, request: pytest.FixtureRequest
) -> None:
    """Every answer is the one that the same request gets alone, or a beginning of it where it was cancelled."""
    with open_site(request.getfixturevalue(stages), block_count=7, max_sequences=5, max_batch_tokens=24) as site:
        kinds = [([5 + kind] * (1 + 11 * kind), 20 + 13 * kind) for kind in range(6)]
        sampling = {"temperature": 0.8, "top_k": 20, "seed": 3, "ignore_eos": True}
        alone = [site.ask(prompt, max_tokens=count, **sampling).token_ids for prompt, count in kinds]
        asking = threading.Lock()
        wrong: list[Any] = []

        def client(number: int) -> None:
            chance = random.Random(number)
            for _ in range(4):
                kind = chance.randrange(6)
                prompt, count = kinds[kind]
                with asking:
                    answer = site.ask(prompt, max_tokens=count, **sampling)
                if chance.random() < 0.4:
                    for _ in range(chance.randrange(4)):
                        answer.next_chunk()
                    site.engine.cancel(answer.request_id)
                ids = answer.token_ids
                expected = alone[kind] if isinstance(answer.last, Finished) else alone[kind][: len(ids)]
                if ids != expected:
                    wrong.append((kind, ids, expected))

        threads = [threading.Thread(target=client, args=(number,)) for number in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(timeout=60)
        assert wrong == []
        site.wait_until_empty()
        stats = site.engine.stats()
        assert stats.finished + stats.failed == 6 + 6 * 4
