"""Drives a started pipeline through what a plan is chosen for: one request from prompt to last token, or many at once.

Knows batches and steps; no engine, so that what is measured is the stages and their links alone.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import repeat
from statistics import median

import numpy as np

from hetero.backends.base import KvSpec
from hetero.bench.hops import Step, collect_result, take_step
from hetero.models.config import DecoderConfig, ModelConfig
from hetero.pipeline.base import Pipeline
from hetero.profiling.batches import Shape, kv_for, make_batch
from placement.problem import Traffic

#: Decode steps that are driven at most: they stand for all, at contexts spread evenly over the request's.
MAX_DECODE_STEPS = 24
WARM_UP_RUNS = 2


@dataclass(frozen=True, slots=True)
class Ride:
    """One request alone: its prompt's steps, and so many of its decode steps, which stand for `decode_count`."""

    prompt: tuple[Step, ...]
    decode: tuple[Step, ...]
    decode_count: int

    @property
    def first_token_seconds(self) -> float:
        return sum(map(seconds_of, self.prompt))

    @property
    def token_seconds(self) -> float:
        """Median seconds of a decode step; 0 where there is none."""
        return median(map(seconds_of, self.decode)) if self.decode else 0.0

    @property
    def request_seconds(self) -> float:
        return self.first_token_seconds + self.decode_count * self.token_seconds


def seconds_of(step: Step) -> float:
    """From the host and back to it."""
    return step.collected_at_seconds - step.submitted_at_seconds


def prompt_shapes(config: ModelConfig, traffic: Traffic) -> tuple[Shape, ...]:
    """A prompt in chunks; an encoder's text in one batch."""
    if not isinstance(config, DecoderConfig):
        return (Shape("encode", traffic.prompt_tokens, traffic.prompt_tokens),)
    begins = range(0, traffic.prompt_tokens, traffic.chunk_tokens)
    return tuple(Shape("prefill", min(traffic.chunk_tokens, traffic.prompt_tokens - begin), begin) for begin in begins)


def decode_shapes(config: ModelConfig, traffic: Traffic, batch: int = 1) -> tuple[Shape, ...]:
    """Some decode steps of `batch` sequences, from the prompt's end to the last token."""
    count = decode_count(config, traffic)
    places = np.linspace(0, count - 1, min(count, MAX_DECODE_STEPS))
    return tuple(Shape("decode", batch, traffic.prompt_tokens + round(place)) for place in places)


def decode_count(config: ModelConfig, traffic: Traffic) -> int:
    """Decode steps of a request: the prompt's own step gives the first token."""
    return traffic.output_tokens - 1 if isinstance(config, DecoderConfig) else 0


def kv_of(config: ModelConfig, traffic: Traffic) -> KvSpec | None:
    """A KV cache for the traffic; None for an encoder."""
    crowd = decode_shapes(config, traffic, traffic.concurrency)
    return kv_for((*prompt_shapes(config, traffic), *crowd), config)


def ride(pipeline: Pipeline, config: ModelConfig, traffic: Traffic) -> Ride:
    """Drive one request through an idle pipeline. Raises BackendError where a stage fails."""
    prompt = tuple(take_step(pipeline, make_batch(shape)) for shape in prompt_shapes(config, traffic))
    decode = tuple(take_step(pipeline, make_batch(shape)) for shape in decode_shapes(config, traffic))
    return Ride(prompt, decode, decode_count(config, traffic))


def requests_per_second(pipeline: Pipeline, config: ModelConfig, traffic: Traffic, seconds: float) -> float:
    """The rate with `traffic.concurrency` requests in flight, as many batches of them as there are stages.

    Prompts and decode steps are driven apart, for half of `seconds` each, and added up as they would take turns.
    """
    batch = -(-traffic.concurrency // pipeline.depth)
    prompts, decodes = prompt_shapes(config, traffic), decode_shapes(config, traffic, batch)
    each = len(prompts) * seconds_between(pipeline, prompts, seconds / 2)
    if decodes:
        each += decode_count(config, traffic) / batch * seconds_between(pipeline, decodes, seconds / 2)
    return 1 / each


def seconds_between(pipeline: Pipeline, shapes: tuple[Shape, ...], seconds: float) -> float:
    """Mean seconds from one result to the next while every stage has a batch, over about `seconds`."""
    waiting = _cycle(shapes)
    for _ in range(pipeline.depth):
        pipeline.submit(make_batch(next(waiting)))
    for _ in range(pipeline.depth * WARM_UP_RUNS):
        _exchange(pipeline, next(waiting))
    started, done = time.monotonic(), 0
    while done < pipeline.depth or time.monotonic() < started + seconds:
        _exchange(pipeline, next(waiting))
        done += 1
    ended = time.monotonic()
    for _ in range(pipeline.depth):
        collect_result(pipeline)
    return (ended - started) / done


def _cycle(shapes: tuple[Shape, ...]) -> Iterator[Shape]:
    return (shape for again in repeat(shapes) for shape in again)


def _exchange(pipeline: Pipeline, shape: Shape) -> None:
    collect_result(pipeline)
    pipeline.submit(make_batch(shape))
