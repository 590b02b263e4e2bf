"""Random questions for the placer, and a small one by hand whose every number can be counted."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import combinations, permutations, product

import numpy as np
import pytest

from placement.constraints import Constraints, DataLabel, Pin, Trust
from placement.problem import ModelShape, PlacementProblem, Power, Traffic
from placement.profiles import Contention, Fingerprint, LinkTime, Profile, Refusal, SegmentTime
from placement.types import Device, DeviceKind, Layer

MEBIBYTE = 2**20


@pytest.fixture(scope="session")
def make_random_problem() -> Callable[[int, int, int], PlacementProblem]:
    """(seed, blocks, devices) -> a problem in which anything may bind."""
    return random_problem


def random_problem(seed: int, blocks: int, devices: int) -> PlacementProblem:
    """A model of unlike blocks on unlike devices with up to two lanes each, of which some refuse the model."""
    rng = np.random.default_rng(seed)
    layers = tuple(Layer(i, "decoder", int(rng.integers(50, 150)), int(rng.integers(0, 3)), 64) for i in range(blocks))
    names = [f"d{i}" for i in range(devices)]
    weights = sum(layer.weight_bytes for layer in layers)
    made = tuple(
        Device(name, DeviceKind.GPU, ("a", "b"), ("fp32", "fp16"), int(rng.uniform(0.3, 3) * weights) + 2000)
        for name in names
    )
    profile = Profile(
        Fingerprint("m", "x", ()),
        blocks,
        tuple(time for name in names for time in random_times(rng, name, blocks)),
        tuple(LinkTime(a, b, 1000, (float(rng.uniform(0, 0.6)),)) for a, b in permutations([*names, "host"], 2)),
        refusals=tuple(Refusal(name, "b", "fp32", "no") for name in names if rng.random() < 0.2),
        contentions=tuple(
            Contention(pair, float(rng.uniform(1, 2.5))) for pair in combinations(names, 2) if rng.random() < 0.25
        ),
    )
    traffic = Traffic(
        prompt_tokens=int(rng.integers(1, 5)),
        output_tokens=int(rng.integers(1, 4)),
        concurrency=int(rng.choice([1, 1, 2, 5])),
        batch_sequences=int(rng.integers(1, 3)) if rng.random() < 0.3 else None,
    )
    problem = PlacementProblem(ModelShape(layers, 2, 0, int(rng.integers(0, 40))), made, profile, traffic)
    return replace(problem, constraints=random_constraints(rng, names, blocks), power=random_power(rng, names))


def random_times(rng: np.random.Generator, name: str, blocks: int) -> Iterator[SegmentTime]:
    lanes = [("a", "fp32"), ("b", "fp16")][: int(rng.integers(1, 3))]
    for (engine, precision), phase in product(lanes, ("prefill", "decode")):
        one, more = rng.uniform(0.1, 1, 2)
        for first, last in dict.fromkeys([(0, 1), (blocks // 2, blocks // 2 + 1), (blocks - 1, blocks), (0, blocks)]):
            for tokens in (1, 4):
                seconds = (one + more * (last - first)) * rng.uniform(0.8, 1.2) * (1 + 0.2 * tokens)
                yield SegmentTime(name, engine, precision, phase, first, last, tokens, 4, (float(seconds),))


def random_constraints(rng: np.random.Generator, names: list[str], blocks: int) -> Constraints:
    trust, pins = None, ()
    if rng.random() < 0.4:
        every = list(DataLabel)
        cleared = {name: frozenset(rng.choice(every, rng.integers(1, 4)).tolist()) for name in names}
        clearances = {name: frozenset(DataLabel(label) for label in labels) for name, labels in cleared.items()}
        clearances[names[0]] = frozenset({DataLabel.RAW_TOKENS})
        labels = tuple(rng.choice(every, blocks + 1).tolist()) if rng.random() < 0.3 else ()
        trust = Trust(clearances, tuple(DataLabel(label) for label in labels))
    if rng.random() < 0.2:
        first = int(rng.integers(0, blocks))
        pins = (Pin(str(rng.choice(names)), first, int(rng.integers(first + 1, blocks + 1))),)
    excluded = frozenset({names[-1]}) if len(names) > 1 and rng.random() < 0.1 else frozenset()
    return Constraints(pins, excluded, max_stages=2 if rng.random() < 0.1 else None, trust=trust)


def random_power(rng: np.random.Generator, names: list[str]) -> Power:
    return Power({name: float(rng.uniform(1, 10)) for name in names}, float(rng.uniform(0, 0.01)))


@pytest.fixture
def small() -> PlacementProblem:
    """Four equal blocks of 10 MiB; a fast small GPU, a slow large CPU; times that were measured at batch 1 and 4.

    A block takes 1 ms on the GPU and 3 ms on the CPU in decode, ten times that in prefill, whatever the context; a
    stage costs 0.5 ms besides; the head takes 2 ms; every hop 0.1 ms.
    """
    layers = tuple(Layer(i, "decoder", 10 * MEBIBYTE, 1024, 4096) for i in range(4))
    gpu = Device("gpu0", DeviceKind.GPU, ("torch",), ("fp16",), 40 * MEBIBYTE)
    cpu = Device("cpu", DeviceKind.CPU, ("openvino",), ("fp16",), 400 * MEBIBYTE, cores=(0, 1))
    segments = tuple(
        SegmentTime(d.name, d.engines[0], "fp16", phase, a, b, tokens, 8, (seconds * scale * (1 + tokens) / 2,))
        for d, block in ((gpu, 1e-3), (cpu, 3e-3))
        for phase, scale in (("prefill", 10), ("decode", 1))
        for tokens in (1, 4)
        for a, b, seconds in by_hand(block)
    )
    links = tuple(LinkTime(a, b, n, (1e-4,)) for a, b in permutations(("gpu0", "cpu", "host"), 2) for n in (1, 9**6))
    profile = Profile(Fingerprint("model", "machine", (("torch", "2"),)), 4, segments, links)
    return PlacementProblem(ModelShape(layers), (gpu, cpu), profile, Traffic(4, 5))


def by_hand(block: float) -> list[tuple[int, int, float]]:
    """Seconds of the four segments that are measured, at one token."""
    ranges = [(0, 1), (1, 2), (1, 3), (3, 4), (0, 4)]
    return [(a, b, 0.5e-3 + (b - a) * block + (2e-3 if b == 4 else 0)) for a, b in ranges]
