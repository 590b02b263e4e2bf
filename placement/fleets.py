"""`python -m placement.fleets TABLES`: what other tools' rules give, and what ours gives, on simulated fleets.

The times of a block are measured (Helix's tables, see tests/data/placement/helix); which GPUs stand together, and the
links between them, are made up, so that every figure is a prediction, not a measurement.
"""

import argparse
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from placement.baselines import baselines
from placement.choose import choose
from placement.costs import CostModel
from placement.evaluation import evaluate
from placement.masks import forbidden_stages
from placement.problem import ModelShape, Objective, PlacementProblem, Traffic
from placement.profiles import HOST, Fingerprint, LinkTime, Phase, Profile, SegmentTime
from placement.types import Device, DeviceKind, Layer
from placement.wording import table

#: [tokens, milliseconds of one block] by "model/gpu/phase", phase being prompt or decode.
Tables = Mapping[str, Sequence[tuple[float, float]]]

#: GiB of memory by the tables' names of GPUs; x2 and x4 are so many of one kind that share each block. The larger A100
#: is taken to be as fast as the measured one.
_GIB = {"a100": 40, "a100-80g": 80, "v100": 16, "l4": 24, "l4x2": 48, "t4": 16, "t4x2": 32, "t4x4": 64}
_WITHIN_SITE, _BETWEEN_SITES = (2e-4, 1.25e9), (2.5e-2, 1.25e7)
_LINK_BYTES = (1 << 8, 1 << 12, 1 << 16, 1 << 18, 1 << 20, 1 << 22)


@dataclass(frozen=True, slots=True)
class Fleet:
    """GPUs by site: each site's links are fast, those between sites are slow; the host is at the first site."""

    name: str
    model: str
    sites: tuple[tuple[str, ...], ...]


_30B, _70B = "llama1_30b", "llama2_70b"
FLEETS = (
    Fleet("one A100 of 80 GiB, an L4, a T4", _30B, (("a100-80g", "l4", "t4"),)),
    Fleet("one A100, two L4, two T4", _30B, (("a100", "l4", "l4", "t4", "t4"),)),
    Fleet("the same, T4 at another site", _30B, (("a100", "l4", "l4"), ("t4", "t4"))),
    Fleet("eight unlike GPUs", _30B, (("a100", "v100", "v100", "l4", "l4", "l4", "t4", "t4"),)),
    Fleet("A100 pair, twins of L4, fours of T4", _70B, (("a100", "a100", "l4x2", "l4x2", "t4x4", "t4x4"),)),
    Fleet("the same over three sites", _70B, (("a100", "a100"), ("l4x2", "l4x2"), ("t4x4", "t4x4"))),
)
#: Blocks, and weights, KV numbers and activations of one block: the models' published shapes.
_SHAPES = {
    _30B: (60, 4 * 6656**2 + 3 * 6656 * 17920, 2 * 6656, 6656),
    _70B: (80, 2 * 8192**2 + 2 * 8192 * 1024 + 3 * 8192 * 28672, 2 * 1024, 8192),
}
_TRAFFIC = {
    Objective.LATENCY: Traffic(prompt_tokens=512, output_tokens=128),
    Objective.THROUGHPUT: Traffic(prompt_tokens=512, output_tokens=128, concurrency=32),
}


def problem_of(fleet: Fleet, tables: Tables, objective: Objective) -> PlacementProblem:
    """The question for the placer; raises KeyError for a GPU that has no table."""
    blocks, weights, kv, width = _SHAPES[fleet.model]
    layers = tuple(Layer(index, "decoder", 2 * weights, 2 * kv, 2 * width) for index in range(blocks))
    placed = [
        (f"{gpu}-{number}", gpu, site) for site, gpus in enumerate(fleet.sites) for number, gpu in enumerate(gpus)
    ]
    devices = tuple(
        Device(name, DeviceKind.GPU, ("vllm",), ("fp16",), _GIB[gpu] << 30, node=f"site{site}")
        for name, gpu, site in placed
    )
    segments = tuple(time for name, gpu, _ in placed for time in _segments(tables, fleet.model, gpu, name))
    profile = Profile(Fingerprint(fleet.model, "simulated", ()), blocks, segments, tuple(_links(placed)))
    return PlacementProblem(ModelShape(layers), devices, profile, _TRAFFIC[objective], objective)


def _segments(tables: Tables, model: str, gpu: str, name: str) -> Iterator[SegmentTime]:
    phases: tuple[tuple[Phase, str], ...] = (("prefill", "prompt"), ("decode", "decode"))
    for phase, word in phases:
        for tokens, milliseconds in tables[f"{model}/{gpu.removesuffix('-80g')}/{word}"]:
            if tokens >= 1:
                yield SegmentTime(name, "vllm", "fp16", phase, 1, 2, round(tokens), 0, (milliseconds / 1000,))


def _links(placed: Sequence[tuple[str, str, int]]) -> Iterator[LinkTime]:
    ends = [*((name, site) for name, _, site in placed), (HOST, 0)]
    for source, here in ends:
        for target, there in ends:
            latency, rate = _WITHIN_SITE if here == there else _BETWEEN_SITES
            for size in _LINK_BYTES if source != target else ():
                yield LinkTime(source, target, size, (latency + size / rate,))


@dataclass(frozen=True, slots=True)
class Row:
    """One fleet's figures for one objective by rule; None where the rule's plan is not legal, with the reason."""

    fleet: str
    objective: Objective
    values: Mapping[str, float | None]
    refusals: Mapping[str, str]

    @property
    def gain(self) -> float | None:
        """How much less ours is than the best of the other rules; None where none of them is legal."""
        others = [value for name, value in self.values.items() if name != OURS and value is not None]
        ours = self.values[OURS]
        return 1 - ours / min(others) if others and ours is not None else None


OURS = "ours"
_RULES = {"greedy fill": "accelerate-style", "by memory": "by memory", "even split": "even"}


def compare(fleet: Fleet, tables: Tables, objective: Objective) -> Row:
    """Every rule's plan by the one cost model."""
    problem = problem_of(fleet, tables, objective)
    costs = CostModel(problem)
    values: dict[str, float | None] = {"one device": None, **dict.fromkeys(_RULES.values())}
    refusals: dict[str, str] = {}
    for each in baselines(costs, forbidden_stages(costs)):
        rule = "one device" if each.name.endswith(" alone") else _RULES[each.name]
        if each.refusal is not None:
            refusals[rule] = str(each.refusal.reason)
        else:
            values[rule] = min(evaluate(costs, each.stages).of(objective), values[rule] or math.inf)
    return Row(fleet.name, objective, {**values, OURS: choose(problem).figures.of(objective)}, refusals)


def _cells(row: Row) -> tuple[str, ...]:
    shown = []
    for name, value in row.values.items():
        shown.append(_amount(row.objective, value) if value is not None else f"no: {row.refusals[name]}")
    gain = "" if row.gain is None else f"{row.gain:.0%}"
    return (row.fleet, str(row.objective), *shown, gain)


def _amount(objective: Objective, seconds: float) -> str:
    return f"{1 / seconds:.3g} req/s" if objective is Objective.THROUGHPUT else f"{seconds:.3g} s"


def main(arguments: list[str] | None = None) -> None:
    """Print one row a fleet and objective."""
    parser = argparse.ArgumentParser(prog="python -m placement.fleets", description=__doc__)
    parser.add_argument("tables", type=Path, help="measured tables (JSON), as tests/data/placement/helix has them")
    tables: Tables = json.loads(parser.parse_args(arguments).tables.read_text(encoding="utf-8"))
    rows = [compare(fleet, tables, o) for fleet in FLEETS for o in _TRAFFIC]
    print("SIMULATED fleets of measured GPUs, requests of 512 + 128 tokens: one alone, or 32 at once for throughput\n")
    print(table([("fleet", "objective", *rows[0].values, "better by"), *map(_cells, rows)]))


if __name__ == "__main__":
    main()
