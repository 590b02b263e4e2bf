"""Chunks, endings and timings of one request, token by token."""

from typing import Any

import pytest

from hetero.batch import SampledToken
from hetero.engine.output import Output, Stopwatch
from hetero.engine.requests import Failed, Finished
from hetero.errors import StageLostError
from hetero.types import Chunk, FinishReason, SamplingParams, Timings, TokenLogprob


class Letters:
    """Ids are letters: 0 is a."""

    def decode(self, ids: Any, /) -> str:
        return "".join(chr(ord("a") + token_id) for token_id in ids)


def told_by(ids: list[int], **sampling: Any) -> tuple[list[Any], FinishReason | None]:
    events: list[Any] = []
    output = Output("one", SamplingParams(**sampling), Letters(), {25}, events.append)
    reason = None
    for token_id in ids:
        assert reason is None
        reason = output.accept(SampledToken(token_id, -float(token_id), ((token_id, -1.0),)))
    return events, reason


def test_every_token_with_text_is_a_chunk() -> None:
    assert told_by([0, 1]) == ([Chunk("a", (0,)), Chunk("b", (1,))], None)


def test_every_token_tells_after_how_many_blocks_it_was_first_said() -> None:
    events: list[Any] = []
    output = Output("one", SamplingParams(stop=("bcx",)), Letters(), (), events.append, depths=(2, 6))
    for token_id, accepted in ((0, True), (1, True), (2, False), (3, True)):
        output.accept(SampledToken(token_id, accepted=accepted))
    assert [chunk.depths for chunk in events] == [(2,), (2, 6, 2)]


def test_held_back_tokens_come_with_the_next_chunk() -> None:
    events, reason = told_by([0, 1, 2, 3], stop=("bcx",), max_tokens=9)
    assert (events, reason) == ([Chunk("a", (0,)), Chunk("bcd", (1, 2, 3))], None)


def test_the_tokens_of_a_stop_string_are_counted_but_have_no_text() -> None:
    events, reason = told_by([0, 1, 2], stop=("bc",))
    assert (events, reason) == ([Chunk("a", (0,)), Chunk("", (1, 2), (), FinishReason.STOP)], FinishReason.STOP)


@pytest.mark.parametrize(
    ("ids", "sampling", "last"),
    [
        ([0, 25], {}, Chunk("", (25,), (), FinishReason.EOS)),
        ([0, 1], {"max_tokens": 2}, Chunk("b", (1,), (), FinishReason.LENGTH)),
        ([0, 25], {"max_tokens": 2}, Chunk("", (25,), (), FinishReason.EOS)),
        ([0, 1], {"max_tokens": 2, "stop": ("b",)}, Chunk("", (1,), (), FinishReason.STOP)),
        ([0, 1], {"max_tokens": 2, "stop": ("bc",)}, Chunk("b", (1,), (), FinishReason.LENGTH)),
        ([0, 1, 25], {"stop": ("bz",)}, Chunk("b", (1, 25), (), FinishReason.EOS)),
    ],
)
def test_the_last_chunk_says_why_the_completion_ended(ids: list[int], sampling: dict[str, Any], last: Chunk) -> None:
    events, reason = told_by(ids, **sampling)
    assert (events[-1], reason) == (last, last.finish_reason)


@pytest.mark.parametrize("asked", [None, 0, 1])
def test_logprobs_come_with_their_tokens_where_they_were_asked_for(asked: int | None) -> None:
    events, _ = told_by([3], logprobs=asked)
    assert events[0].logprobs == (() if asked is None else (TokenLogprob(3, -3.0, ((3, -1.0),)),))


def test_a_sink_that_raised_is_not_called_again() -> None:
    calls: list[Any] = []

    def sink(event: Any) -> None:
        calls.append(event)
        raise RuntimeError("gone")

    output = Output("one", SamplingParams(), Letters(), (), sink)
    output.accept(SampledToken(0))
    output.fail(StageLostError("lost"))
    assert output.deaf and len(calls) == 1


def test_the_last_event_says_how_it_ended() -> None:
    events: list[Any] = []
    timings = Timings(1.0, 2.0, 3.0, 4.0)
    output = Output("one", SamplingParams(), Letters(), (), events.append)
    output.accept(SampledToken(0))
    output.finish(7, FinishReason.EOS, timings, 99)
    error = StageLostError("lost")
    output.fail(error)
    assert events[1:] == [Finished(7, 1, FinishReason.EOS, timings, 99), Failed(error)]


def test_timings_are_counted_from_the_submission_and_between_tokens() -> None:
    watch = Stopwatch(10.0)
    watch.start(11.0)
    watch.start(13.0)
    for second in (12.0, 12.5, 13.0, 15.0):
        watch.token(second)
    assert watch.timings() == Timings(2.0, 0.5, 1.0, 1.0)


def test_timings_of_a_single_token_have_nothing_between() -> None:
    watch = Stopwatch(10.0)
    watch.start(10.25)
    watch.token(10.5)
    assert watch.timings() == Timings(0.5, 0.0, 2.0, 0.25)
