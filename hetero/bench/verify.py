"""What drafting by early blocks saves: tokens per second against full depth, and whether every token is the same.

Runtimes take turns on the same prompts, cut from a text: how many drafts hold depends on it. Drives the engine as the
server does. Knows nothing of terminals.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median
from threading import Event
from typing import TYPE_CHECKING

from hetero.bench.decode import Load, decode_once, wait_for_all
from hetero.engine.requests import Event as EngineEvent
from hetero.engine.requests import Failed
from hetero.engine.settings import EngineStats
from hetero.errors import HeteroError, InvalidRequestError
from hetero.types import Chunk, SamplingParams

if TYPE_CHECKING:
    from hetero.runtime import Runtime

Tell = Callable[[str], None]
Prompts = Sequence[tuple[int, ...]]


@dataclass(frozen=True, slots=True)
class VerifyRate:
    """Median tokens per second of one runtime with so many requests at once, and each round's.

    `accepted` of its `drafted` tokens held in the measured rounds, `tokens_per_verification` is what a pass over drafts
    gave for each sequence: the drafts that held and one more. None where nothing was drafted.
    """

    concurrency: int
    tokens_per_second: float
    rounds: tuple[float, ...]
    drafted: int
    accepted: int
    tokens_per_verification: float | None


@dataclass(frozen=True, slots=True)
class Identity:
    """Of so many completions of the same requests, how many have the same tokens throughout."""

    greedy: int
    greedy_same: int
    sampled: int
    sampled_same: int


def text_prompts(runtime: "Runtime", text: str, length: int, count: int) -> Prompts:
    """`count` pieces of `length` tokens, evenly spread over `text`. Raises InvalidRequestError if it is too short."""
    ids = runtime.tokenize(text, of_any_length=True)
    if len(ids) < length + count:
        raise InvalidRequestError(f"the text has {len(ids)} tokens: too few for {count} prompts of {length}")
    starts = [index * (len(ids) - length) // count for index in range(count)]
    return [ids[start : start + length] for start in starts]


def measure_verify(
    runtimes: Sequence["Runtime"], prompts: Prompts, loads: Sequence[Load], rounds: int, tell: Tell
) -> list[list[VerifyRate]]:
    """For each runtime and load its rate over `rounds`, after one that does not count: how long drafts should be is
    found in it."""
    rates: list[list[list[float]]] = [[[] for _ in loads] for _ in runtimes]
    counts: list[list[_Counts]] = [[_Counts() for _ in loads] for _ in runtimes]
    for number in range(rounds + 1):
        for which, load in enumerate(loads):
            for runtime, found, counted in zip(runtimes, rates, counts, strict=True):
                tell(f"round {number} of {rounds}: {load.concurrency} at once")
                before = runtime.stats()
                rate = decode_once(runtime, load, number, lambda index: prompts[index % len(prompts)])
                if number:
                    found[which].append(rate)
                    counted[which].add(before, runtime.stats())
    return [
        [count.rate(load, of) for load, of, count in zip(loads, found, counted, strict=True)]
        for found, counted in zip(rates, counts, strict=True)
    ]


@dataclass(slots=True)
class _Counts:
    drafted: int = 0
    accepted: int = 0
    verifications: int = 0

    def add(self, before: EngineStats, after: EngineStats) -> None:
        self.drafted += after.drafted_tokens - before.drafted_tokens
        self.accepted += after.accepted_drafts - before.accepted_drafts
        self.verifications += after.verifications - before.verifications

    def rate(self, load: Load, rounds: Sequence[float]) -> VerifyRate:
        each = 1 + self.accepted / self.verifications if self.verifications else None
        return VerifyRate(load.concurrency, median(rounds), tuple(rounds), self.drafted, self.accepted, each)


def compare_tokens(full: "Runtime", drafting: "Runtime", prompts: Prompts, tokens: int, tell: Tell) -> Identity:
    """The same requests to both, all at once: one greedy for each prompt, and after every third one that is sampled."""
    requests = [(prompt, SamplingParams(max_tokens=tokens, ignore_eos=True)) for prompt in prompts]
    for seed, prompt in enumerate(prompts[::3]):
        sampling = SamplingParams(max_tokens=tokens, temperature=0.8, top_p=0.95, seed=seed, ignore_eos=True)
        requests.insert(seed * 4 + 3, (prompt, sampling))
    answers = []
    for runtime in (full, drafting):
        tell(f"comparing {len(requests)} completions of {tokens} tokens")
        answers.append(_complete_all(runtime, requests))
    same = [(sampling.temperature > 0, a == b) for (_, sampling), a, b in zip(requests, *answers, strict=True)]
    greedy, sampled = ([equal for drawn, equal in same if drawn is kind] for kind in (False, True))
    return Identity(len(greedy), sum(greedy), len(sampled), sum(sampled))


class _Answer:
    """One request's tokens. Written by the engine's thread."""

    def __init__(self) -> None:
        self.token_ids: list[int] = []
        self.error: HeteroError | None = None
        self.ended = Event()

    def take(self, event: EngineEvent) -> None:
        if isinstance(event, Chunk):
            self.token_ids.extend(event.token_ids)
            return
        if isinstance(event, Failed):
            self.error = event.error
        self.ended.set()


def _complete_all(runtime: "Runtime", requests: Sequence[tuple[tuple[int, ...], SamplingParams]]) -> list[list[int]]:
    answers = [_Answer() for _ in requests]
    for number, ((prompt, sampling), answer) in enumerate(zip(requests, answers, strict=True)):
        runtime.submit(f"same-{number}", prompt, sampling, answer.take)
    wait_for_all(answers)
    return [answer.token_ids for answer in answers]
