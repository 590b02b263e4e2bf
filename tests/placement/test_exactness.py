"""The solver against brute force: every cut, order, lane; memory, legality, trust, pins, links, contention, bounds.

The brute force knows what a plan is and what each figure means; of the code under test it takes only the tables of
seconds of single stages and links, which `test_costs.py` checks by hand.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import combinations, permutations, product

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from placement.choose import choose
from placement.constraints import COVERS, DataLabel
from placement.costs import CostModel
from placement.errors import InfeasibleError
from placement.evaluation import evaluate
from placement.masks import forbidden_stages
from placement.pareto import pareto_choices
from placement.problem import Bounds, Objective, PlacementProblem
from placement.solve import Solver

WIDTH = {"fp32": 2, "fp16": 1}  # beside the fp16 in which the layers are counted


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
    load, residence = (parts(metric) for metric in (costs.load(batch), costs.residence(batch)))
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
    # Nothing was cut short: the value is proven.
    assert solution.proven == pytest.approx(solution.value)
    return values.of(objective), stages, values


questions = st.tuples(st.integers(0, 2**32 - 1), st.integers(1, 8), st.integers(1, 4))
relaxed = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True)


def test_best_plan_of_1000_random_chains_equals_brute_force_for_every_objective(make_random_problem):
    feasible = cut = 0
    for seed in range(1000):
        problem = make_random_problem(seed, 1 + seed % 8, 1 + seed // 8 % 4)
        costs = CostModel(problem)
        plans = list(every_plan(problem, costs))
        known = [figures(problem, costs, plan) for plan in plans]
        feasible += bool(plans)
        for objective, field in FIELD.items():
            found = solve(problem, costs, objective)
            check_best(found, plans, [getattr(each, field) for each in known])
            cut += found is not None and len(found[1]) > 1
    # Both answers are well covered, and so are plans of several stages.
    assert 450 < feasible < 900
    assert cut > 400


def check_best(found, plans: list, values: list[float]) -> None:
    assert (found is None) == (not plans)
    if found is not None:
        value, stages, _ = found
        assert stages in plans
        assert value == pytest.approx(values[plans.index(stages)])
        assert value == pytest.approx(min(values))


@given(questions, st.sampled_from(list(FIELD)), st.sampled_from(list(FIELD)), st.floats(0.0, 1.0))
@settings(relaxed, max_examples=300)
def test_best_plan_under_a_bound_equals_brute_force(make_random_problem, question, objective, bounded, where):
    problem = make_random_problem(*question)
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


@given(questions, st.sampled_from(list(FIELD)))
@settings(relaxed, max_examples=150)
def test_choice_is_never_worse_than_a_legal_baseline_by_more_than_its_error(make_random_problem, question, objective):
    problem = replace(make_random_problem(*question), objective=objective)
    costs = CostModel(problem)
    known = list(every_plan(problem, costs))
    if not known:
        with pytest.raises(InfeasibleError, match=r"no (plan on|legal plan)"):
            choose(problem)
        return
    choice = choose(problem)
    best, error = min(
        (each.figures.of(objective), each.figures.relative_error)
        for each in choice.alternatives
        if each.refusal is None
    )
    assert choice.figures.of(objective) <= best * (1 + error) * (1 + 1e-9)
    assert best == pytest.approx(min(getattr(figures(problem, costs, plan), FIELD[objective]) for plan in known))
    assert [[s.first, s.last] for s in choice.plan.stages] in [[[a, b] for _, a, b in plan] for plan in known]


@given(questions, st.sampled_from(list(permutations(FIELD, 2))))
@settings(relaxed, max_examples=60)
def test_pareto_list_equals_brute_force(make_random_problem, question, pair):
    first, second = pair
    problem = replace(make_random_problem(*question), objective=first)
    costs = CostModel(problem)
    plans = [figures(problem, costs, plan) for plan in every_plan(problem, costs)]
    values = [(getattr(each, FIELD[first]), getattr(each, FIELD[second])) for each in plans]
    found = [(each.figures.of(first), each.figures.of(second)) for each in pareto_choices(problem, second, limit=200)]
    assert bool(found) == bool(values)
    for value in values:
        assert any(a <= value[0] * (1 + 1e-5) and b <= value[1] * (1 + 1e-5) for a, b in found)
    for k, one in enumerate(found[1:]):
        assert one[0] >= found[k][0] * (1 - 1e-9)
        assert one[1] < found[k][1]
