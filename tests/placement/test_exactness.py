"""The solver against brute force: every cut, order, lane; memory, legality, trust, pins, links, contention, bounds.

The brute force knows what a plan is and what each figure means; of the code under test it takes only the tables of
seconds of single stages and links, which `test_costs.py` checks by hand.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import combinations, permutations, product

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from placement.constraints import COVERS, Constraints, DataLabel, Pin, Trust
from placement.costs import CostModel
from placement.evaluation import evaluate
from placement.masks import forbidden_stages
from placement.problem import Bounds, ModelShape, Objective, PlacementProblem, Power, Traffic
from placement.profiles import Contention, Fingerprint, LinkTime, Profile, Refusal, SegmentTime
from placement.solve import Solver
from placement.types import Device, DeviceKind, Layer

WIDTH = {"fp32": 2, "fp16": 1}  # beside the fp16 in which the layers are counted


def random_problem(seed: int, blocks: int, devices: int, *, alike: bool = False) -> PlacementProblem:
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


@dataclass(frozen=True)
class Figures:
    latency: float
    first_token: float
    period: float
    energy: float


def every_plan(problem: PlacementProblem, costs: CostModel) -> Iterator[tuple[tuple[int, int, int], ...]]:
    """Every legal plan as (lane, first, last) stages, by the words of the constraints."""
    blocks, names = len(problem.model.layers), [device.name for device in problem.devices]
    lanes = {i: [n for n, lane in enumerate(costs.lanes) if lane.device == i] for i in range(len(names))}
    legal = {
        (lane, a, b)
        for lane in range(len(costs.lanes))
        for a, b in combinations(range(blocks + 1), 2)
        if is_legal(problem, costs.lanes[lane], a, b)
    }
    most = problem.constraints.max_stages or blocks
    for count in range(1, min(blocks, len(names), most) + 1):
        for cuts, order in product(combinations(range(1, blocks), count - 1), permutations(range(len(names)), count)):
            edges = (0, *cuts, blocks)
            options = [
                [(lane, edges[k], edges[k + 1]) for lane in lanes[d] if (lane, edges[k], edges[k + 1]) in legal]
                for k, d in enumerate(order)
            ]
            for stages in product(*options):
                if keeps_pins(problem, costs, stages):
                    yield stages


def is_legal(problem: PlacementProblem, lane, first: int, last: int) -> bool:
    device, traffic = problem.devices[lane.device], problem.traffic
    refused = [(r.device, r.engine, r.precision) for r in problem.profile.refusals]
    if device.name in problem.constraints.excluded or (device.name, lane.engine, lane.precision) in refused:
        return False
    held = problem.model.layers[first:last]
    tokens = traffic.concurrency * math.ceil((traffic.prompt_tokens + traffic.output_tokens) / 32) * 32
    size = sum(layer.weight_bytes + layer.kv_bytes_per_token * tokens for layer in held) * WIDTH[lane.precision]
    size += problem.model.head_bytes * WIDTH[lane.precision] * (last == len(problem.model.layers))
    size += max(traffic.prompt_tokens, traffic.concurrency) * 64 * 8
    trust = problem.constraints.trust
    if trust:
        usual = (DataLabel.RAW_TOKENS, *[DataLabel.HIDDEN] * (len(problem.model.layers) - 1), DataLabel.LOGITS)
        seen = set((trust.boundary_labels or usual)[first : last + 1])
        if not seen <= set().union(*(COVERS[label] for label in trust.clearances[device.name])):
            return False
    return size <= 0.9 * device.memory_bytes


def keeps_pins(problem: PlacementProblem, costs: CostModel, stages) -> bool:
    by_device = {problem.devices[costs.lanes[lane].device].name: (first, last) for lane, first, last in stages}
    return all(by_device.get(pin.device) == (pin.first, pin.last) for pin in problem.constraints.pins)


def figures(problem: PlacementProblem, costs: CostModel, stages) -> Figures:
    traffic, host = problem.traffic, len(problem.devices)
    devices = [costs.lanes[lane].device for lane, _, _ in stages]
    boundaries = [*(s[1] for s in stages), len(problem.model.layers)]
    hops = list(zip([host, *devices], [*devices, host], boundaries, strict=True))

    def parts(metric) -> list[float]:
        return [float(metric.stage[s]) for s in stages], [float(metric.link[hop]) for hop in hops]

    flight = math.inf if traffic.batch_sequences else traffic.concurrency
    slow = [1.0] * len(stages)
    for contention in problem.profile.contentions if flight > 1 else ():
        names = [problem.devices[d].name for d in devices]
        pair = [names.index(n) if n in names else None for n in contention.devices]
        for k in pair if None not in pair else ():
            slow[k] += contention.factor - 1
    batch = traffic.batch_sequences or math.ceil(traffic.concurrency / len(stages))
    load, residence = (parts(metric) for metric in costs.batched(batch))
    busy = [seconds * factor for seconds, factor in zip(load[0], slow, strict=True)] + load[1]
    stays = sum(seconds * factor for seconds, factor in zip(residence[0], slow, strict=True)) + sum(residence[1])
    latency, first, energy = (sum(map(sum, parts(m))) for m in (costs.latency, costs.first_token, costs.energy))
    return Figures(latency, first, max(max(busy), stays / flight), energy)


FIELD = {
    Objective.LATENCY: "latency",
    Objective.FIRST_TOKEN: "first_token",
    Objective.THROUGHPUT: "period",
    Objective.ENERGY: "energy",
}


def solve(problem: PlacementProblem, costs: CostModel, objective: Objective, bounds: Bounds = Bounds()):  # noqa: B008
    problem = replace(problem, objective=objective, bounds=bounds)
    solution = Solver(costs, forbidden_stages(costs)).solve(objective, bounds)
    if not solution.plans:
        return None
    values = evaluate(costs, solution.plans[0])
    stages = tuple((stage.lane, stage.first, stage.last) for stage in solution.plans[0])
    assert solution.proven <= solution.value * (1 + 1e-9)
    return values.of(objective), stages, values


problems = st.builds(random_problem, st.integers(0, 2**32 - 1), st.integers(1, 8), st.integers(1, 4))
relaxed = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True)


@given(problems)
@settings(relaxed, max_examples=350)
def test_best_plan_equals_brute_force_for_every_objective(problem):
    costs = CostModel(problem)
    plans = list(every_plan(problem, costs))
    known = [figures(problem, costs, plan) for plan in plans]
    for objective, field in FIELD.items():
        found = solve(problem, costs, objective)
        assert (found is None) == (not plans)
        if found is not None:
            value, stages, _ = found
            assert stages in plans
            assert value == pytest.approx(getattr(known[plans.index(stages)], field))
            assert value == pytest.approx(min(getattr(each, field) for each in known))


@given(problems, st.sampled_from(list(FIELD)), st.sampled_from(list(FIELD)), st.floats(0.0, 1.0))
@settings(relaxed, max_examples=350)
def test_best_plan_under_a_bound_equals_brute_force(problem, objective, bounded, where):
    costs = CostModel(problem)
    known = [figures(problem, costs, plan) for plan in every_plan(problem, costs)]
    if not known:
        return
    values = [getattr(each, FIELD[bounded]) for each in known]
    limit = (min(values) + where * (max(values) - min(values))) * (1 + 1e-7)
    name = {
        Objective.LATENCY: "latency_seconds",
        Objective.FIRST_TOKEN: "first_token_seconds",
        Objective.THROUGHPUT: "requests_per_second",
        Objective.ENERGY: "energy_joules",
    }[bounded]
    bounds = Bounds(**{name: 1 / limit if bounded is Objective.THROUGHPUT else limit})
    found = solve(problem, costs, objective, bounds)
    allowed = [getattr(each, FIELD[objective]) for each in known if getattr(each, FIELD[bounded]) <= limit]
    assert found is not None
    assert found[2].meets(bounds)
    assert found[0] == pytest.approx(min(allowed), rel=1e-6)
