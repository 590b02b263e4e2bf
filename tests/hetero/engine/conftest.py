"""Engines on real pipelines: every stage is a real slice of a real model, run by the torch engine in this process."""

import queue
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from hetero.backends.base import KvSpec
from hetero.engine.engine import Engine
from hetero.engine.requests import Event, Failed, Finished, GenerateRequest, Leaving
from hetero.engine.settings import EngineSettings
from hetero.models.config_reader import read_config
from hetero.models.tokenizer import Tokenizer
from hetero.pipeline.base import Pipeline
from hetero.pipeline.local import LocalPipeline
from hetero.types import Chunk, FinishReason, SamplingParams, TokenLogprob
from placement.types import Device, DeviceKind, Plan, Stage

CPU = Device("cpu", DeviceKind.CPU, ("torch",), ("fp32",), 2**30)
CONTEXT = 512


@dataclass
class Answer:
    """One request's events, waited for when asked."""

    request_id: str
    inbox: "queue.SimpleQueue[Event]" = field(default_factory=queue.SimpleQueue)
    chunks: list[Chunk] = field(default_factory=list)
    last: Finished | Failed | None = None

    def next_chunk(self) -> Chunk:
        event = self.inbox.get(timeout=30)
        assert isinstance(event, Chunk), event
        self.chunks.append(event)
        return event

    def wait(self) -> "Answer":
        while self.last is None:
            event = self.inbox.get(timeout=30)
            if isinstance(event, Chunk):
                self.chunks.append(event)
            else:
                self.last = event
        assert self.inbox.empty(), "an event followed the last one"
        return self

    @property
    def finished(self) -> Finished:
        last = self.wait().last
        assert isinstance(last, Finished), last
        return last

    @property
    def error(self) -> Exception:
        last = self.wait().last
        assert isinstance(last, Failed), last
        return last.error

    @property
    def text(self) -> str:
        return "".join(chunk.text for chunk in self.wait().chunks)

    @property
    def token_ids(self) -> list[int]:
        return [token_id for chunk in self.wait().chunks for token_id in chunk.token_ids]

    @property
    def logprobs(self) -> list[TokenLogprob]:
        return [logprob for chunk in self.wait().chunks for logprob in chunk.logprobs]

    @property
    def reason(self) -> FinishReason:
        return self.finished.finish_reason


class Site:
    """An engine, its tokenizer and its pipeline; `ask` submits under a fresh id."""

    def __init__(self, engine: Engine, tokenizer: Tokenizer, pipeline: Pipeline) -> None:
        self.engine, self.tokenizer, self.pipeline = engine, tokenizer, pipeline
        self._count = 0

    def ask(
        self,
        prompt: str | list[int],
        deadline_seconds: float | None = None,
        leaving: Leaving | None = None,
        **sampling: Any,
    ) -> Answer:
        self._count += 1
        answer = Answer(f"request-{self._count}")
        token_ids = self.tokenizer.encode(prompt) if isinstance(prompt, str) else prompt
        params = SamplingParams(**sampling)
        request = GenerateRequest(answer.request_id, tuple(token_ids), params, deadline_seconds, leaving)
        self.engine.submit(request, answer.inbox.put)
        return answer

    def wait_until(self, condition: Callable[[], bool]) -> None:
        until = time.monotonic() + 20
        while not condition():
            assert time.monotonic() < until, self.engine.stats()
            time.sleep(0.001)

    def wait_until_empty(self) -> None:
        """All blocks are back and nothing is in flight."""
        self.wait_until(lambda: self.is_empty())

    def is_empty(self) -> bool:
        stats = self.engine.stats()
        return (stats.free_blocks, stats.running, stats.waiting, stats.batches_in_flight) == (
            stats.total_blocks, 0, 0, 0,
        )  # fmt: skip


def make_pipeline(folder: Path, cuts: tuple[int, ...]) -> LocalPipeline:
    plan = Plan(tuple(Stage(CPU, "torch", first, last, "fp32") for first, last in pairwise(cuts)), "a test")
    return LocalPipeline(folder, plan, KvSpec(128, 32, 16, CONTEXT), threads=1)


@pytest.fixture(scope="session")
def one_stage(stories260k: Path) -> Iterator[LocalPipeline]:
    pipeline = make_pipeline(stories260k, (0, 5))
    yield pipeline
    pipeline.close()


@pytest.fixture(scope="session")
def three_stages(stories260k: Path) -> Iterator[LocalPipeline]:
    pipeline = make_pipeline(stories260k, (0, 2, 4, 5))
    yield pipeline
    pipeline.close()


@pytest.fixture
def fresh_pipeline(stories260k: Path) -> Iterator[LocalPipeline]:
    """One to be broken by its test."""
    pipeline = make_pipeline(stories260k, (0, 3, 5))
    yield pipeline
    pipeline.close()


OpenSite = Callable[..., AbstractContextManager[Site]]


@pytest.fixture(scope="session")
def open_site_of() -> OpenSite:
    """`open_site_of(folder, pipeline, **limits)`: a started engine for a model, closed when its `with` block ends."""

    @contextmanager
    def give(folder: Path, pipeline: Pipeline, **limits: Any) -> Iterator[Site]:
        tokenizer, model = Tokenizer(folder), read_config(folder)
        defaults = {"block_count": 128, "max_context": CONTEXT}
        engine = Engine(pipeline, tokenizer, model, EngineSettings(**(defaults | limits)))
        engine.start()
        try:
            yield Site(engine, tokenizer, pipeline)
        finally:
            engine.close()
        stats = engine.stats()
        assert stats.free_blocks == stats.total_blocks, "closing left blocks behind"

    return give


@pytest.fixture(scope="session")
def open_site(stories260k: Path, open_site_of: OpenSite) -> OpenSite:
    """`open_site(pipeline, **limits)`: the same for stories260k."""
    return partial(open_site_of, stories260k)
