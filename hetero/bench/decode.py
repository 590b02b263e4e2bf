"""How fast a running model decodes, alone and with many requests at once, against what the memory allows.

Drives the engine as the server does (`Runtime.submit`), so that everything but the network is measured. Knows nothing
of terminals. A token at batch 1 reads every weight of every block and of the head once: so many bytes at the memory's
speed is the bound.
"""

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from threading import Event
from typing import TYPE_CHECKING, Protocol

from hetero.engine.requests import Event as EngineEvent
from hetero.engine.requests import Failed
from hetero.errors import HeteroError
from hetero.models.catalogue import describe_ends, describe_layers
from hetero.models.config_reader import read_config
from hetero.types import Chunk, SamplingParams
from placement import Plan

if TYPE_CHECKING:
    from hetero.runtime import Runtime

TIMEOUT_SECONDS = 600.0


@dataclass(frozen=True, slots=True)
class Load:
    """What is asked: so many requests at once, each with a prompt and an answer of so many tokens."""

    concurrency: int
    prompt_tokens: int
    new_tokens: int


@dataclass(frozen=True, slots=True)
class DecodeRate:
    """What a load came to: median tokens per second of all requests together over the rounds, and each round's."""

    concurrency: int
    tokens_per_second: float
    rounds: tuple[float, ...]


class _Watch:
    """One request's arrivals: `time.monotonic` seconds and tokens of each chunk. Written by the engine's thread."""

    def __init__(self) -> None:
        self.arrivals: list[tuple[float, int]] = []
        self.error: HeteroError | None = None
        self.ended = Event()

    def take(self, event: EngineEvent) -> None:
        if isinstance(event, Chunk):
            self.arrivals.append((time.monotonic(), len(event.token_ids)))
            return
        if isinstance(event, Failed):
            self.error = event.error
        self.ended.set()


class Waited(Protocol):
    """One request that will end, with an error or without."""

    error: HeteroError | None
    ended: Event


def wait_for_all(requests: Iterable[Waited]) -> None:
    """Until every one has ended. Raises the first one's error, or HeteroError where one takes too long."""
    for request in requests:
        if not request.ended.wait(TIMEOUT_SECONDS):
            raise HeteroError(f"a request of the benchmark did not end within {TIMEOUT_SECONDS:.0f} seconds")
        if request.error:
            raise request.error


def decode_once(
    runtime: "Runtime", load: Load, number: int = 0, prompt_of: Callable[[int], tuple[int, ...]] | None = None
) -> float:
    """Tokens per second while all requests of `load` decode together: prefill and the ragged end are left out.

    `prompt_of` gives the token ids of each of all rounds' requests; None: made-up ones.
    Raises HeteroError where a request fails.
    """
    sampling = SamplingParams(max_tokens=load.new_tokens, ignore_eos=True)
    watches = [_Watch() for _ in range(load.concurrency)]
    for index, watch in enumerate(watches):
        place = number * load.concurrency + index
        prompt = prompt_of(place) if prompt_of else _prompt(runtime, load.prompt_tokens, place)
        runtime.submit(f"bench-{number}-{index}", prompt, sampling, watch.take)
    wait_for_all(watches)
    return _steady_rate([watch.arrivals for watch in watches])


def measure(
    runtimes: Sequence["Runtime"], loads: Sequence[Load], rounds: int, tell: Callable[[str], None]
) -> list[list[DecodeRate]]:
    """For each runtime and load the rate over `rounds`. Runtimes take turns, so that a disturbance hits them alike."""
    rates: list[list[list[float]]] = [[[] for _ in loads] for _ in runtimes]
    for runtime in runtimes:
        decode_once(runtime, replace(loads[0], new_tokens=min(8, loads[0].new_tokens)))
    for number in range(1, rounds + 1):
        for which, load in enumerate(loads):
            for runtime, found in zip(runtimes, rates, strict=True):
                tell(f"round {number} of {rounds}: {load.concurrency} at once on {len(runtime.plan.stages)} stages")
                found[which].append(decode_once(runtime, load, number))
    return [
        [DecodeRate(load.concurrency, median(of), tuple(of)) for load, of in zip(loads, found, strict=True)]
        for found in rates
    ]


def weight_bytes_per_token(folder: Path, plan: Plan) -> int:
    """Bytes of weights that one token reads at the plan's precisions: all blocks and the head (one embedding row is
    not counted)."""
    config = read_config(folder)
    blocks = sum(
        layer.weight_bytes
        for stage in plan.stages
        for layer in describe_layers(folder, config, stage.precision)[stage.first : stage.last]
    )
    return blocks + describe_ends(folder, config, plan.stages[-1].precision).head_bytes


def _prompt(runtime: "Runtime", length: int, number: int) -> tuple[int, ...]:
    """Token ids that differ between requests."""
    return tuple((7 + 13 * number + 31 * position) % runtime.info.vocabulary_size for position in range(length))


def _steady_rate(requests: Sequence[Sequence[tuple[float, int]]]) -> float:
    """Tokens per second from the last request's first token to the first request's last one."""
    begin = max(arrivals[0][0] for arrivals in requests)
    end = min(arrivals[-1][0] for arrivals in requests)
    if end <= begin:
        raise HeteroError("the requests of the benchmark never ran all at once; give more --tokens")
    return sum(tokens for arrivals in requests for at, tokens in arrivals if begin < at <= end) / (end - begin)
