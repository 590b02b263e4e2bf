"""`python -m placement.speed`: how long choosing takes on a chain of unlike blocks and unlike devices.

The worst case of its size: no two devices are alike, every one may be used, and every link differs.
"""

import argparse
import time
from collections.abc import Callable, Iterator

import numpy as np

from placement.choose import choose
from placement.problem import ModelShape, Objective, PlacementProblem, Power, Traffic
from placement.profiles import HOST, Fingerprint, LinkTime, Phase, Profile, SegmentTime
from placement.replan import plans_for_losses
from placement.types import Device, DeviceKind, Layer


def unlike_problem(
    blocks: int, devices: int, traffic: Traffic, objective: Objective, seed: int = 0
) -> PlacementProblem:
    """A model and a fleet of which no two devices are alike, each with two engines, none of which holds all blocks."""
    rng = np.random.default_rng(seed)
    layers = tuple(Layer(index, "decoder", 10**8, 2048, 16384) for index in range(blocks))
    names = [f"gpu{index}" for index in range(devices)]
    fleet = tuple(
        Device(name, DeviceKind.GPU, ("torch", "openvino"), ("fp16",), int(rng.uniform(0.25, 0.5) * blocks * 1.2e8))
        for name in names
    )
    profile = Profile(
        Fingerprint("random", "random", ()),
        blocks,
        tuple(each for name in names for each in _segments(rng, name, blocks)),
        tuple(_links(rng, names)),
    )
    power = Power({name: float(rng.uniform(50, 300)) for name in names}, 1e-9)
    return PlacementProblem(ModelShape(layers), fleet, profile, traffic, objective, power=power)


def _segments(rng: np.random.Generator, name: str, blocks: int) -> Iterator[SegmentTime]:
    for engine in ("torch", "openvino"):
        speed = rng.uniform(1, 4)
        phases: tuple[tuple[Phase, float], ...] = (("prefill", 2e-3), ("decode", 5e-4))
        for phase, base in phases:
            for first, last in ((0, 1), (blocks // 2, blocks // 2 + 1), (blocks // 2, blocks // 2 + 8), (0, blocks)):
                for tokens in (1, 16, 128, 512):
                    seconds = base * speed * (0.3 + last - first) * (1 + tokens / 64) * rng.uniform(0.95, 1.05)
                    yield SegmentTime(name, engine, "fp16", phase, first, last, tokens, 128, (float(seconds),))


def _links(rng: np.random.Generator, names: list[str]) -> Iterator[LinkTime]:
    ends = [*names, HOST]
    for source in ends:
        for target in ends:
            latency, rate = rng.uniform(5e-5, 3e-4), rng.uniform(1e9, 1e10)
            for size in (256, 4096, 65536, 1 << 20) if source != target else ():
                yield LinkTime(source, target, size, (float(latency + size / rate),))


def best_of(repeats: int, work: Callable[[], object]) -> float:
    """The shortest of several runs, in seconds."""
    times = []
    for _ in range(repeats):
        started = time.perf_counter()
        work()
        times.append(time.perf_counter() - started)
    return min(times)


def main(arguments: list[str] | None = None) -> None:
    """Print one line a question."""
    parser = argparse.ArgumentParser(prog="python -m placement.speed", description=__doc__)
    parser.add_argument("--blocks", type=int, default=128)
    parser.add_argument("--devices", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args(arguments)
    print(f"{options.blocks} blocks, {options.devices} unlike devices; the shortest of {options.repeats} runs")
    for name, work in _questions(options.blocks, options.devices):
        print(f"  {name:<52} {1000 * best_of(options.repeats, work):8.1f} ms")


def _questions(blocks: int, devices: int) -> Iterator[tuple[str, Callable[[], object]]]:
    alone, busy = Traffic(), Traffic(concurrency=16)
    steady = Traffic(concurrency=16, batch_sequences=2)
    for name, traffic, objective in (
        ("choose, latency", alone, Objective.LATENCY),
        ("choose, time to first token", alone, Objective.FIRST_TOKEN),
        ("choose, energy", alone, Objective.ENERGY),
        ("choose, throughput, batches of 2", steady, Objective.THROUGHPUT),
        ("choose, throughput, 16 requests over all stages", busy, Objective.THROUGHPUT),
    ):
        problem = unlike_problem(blocks, devices, traffic, objective)
        yield name, lambda problem=problem: choose(problem)  # type: ignore[misc]
    lonely = unlike_problem(blocks, devices, alone, Objective.LATENCY)
    yield "plans for the loss of each device, latency", lambda: plans_for_losses(lonely)
    for name, traffic in (("batches of 2", steady), ("16 requests", busy)):
        problem = unlike_problem(blocks, devices, traffic, Objective.THROUGHPUT)
        work = lambda problem=problem: plans_for_losses(problem)  # noqa: E731
        yield f"plans for the loss of each device, throughput, {name}", work


if __name__ == "__main__":
    main()
