"""The chain solver against brute force over every cut and every order of devices."""

from dataclasses import replace
from itertools import combinations, permutations, product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from placement.chain import ChainProblem, ChainStage, pareto, score, solve_chain, without_device


def random_problem(seed: int, blocks: int, devices: int) -> ChainProblem:
    """A chain with illegal blocks, tight memory, unlike links, and now and then two devices that are alike."""
    rng = np.random.default_rng(seed)
    seconds = rng.uniform(0.1, 1, (devices, blocks))
    seconds[rng.random((devices, blocks)) < 0.1] = np.inf
    problem = ChainProblem(
        seconds,
        rng.uniform(0, 0.3, devices),
        rng.uniform(0, 1, (devices, blocks)),
        rng.uniform(0.5, blocks, devices),
        rng.uniform(0, 0.5, (devices + 1, devices + 1, blocks + 1)),
    )
    return make_alike(problem) if devices > 1 and rng.random() < 0.5 else problem


def make_alike(problem: ChainProblem) -> ChainProblem:
    """Device 1 made a copy of device 0 in every array."""
    for array in (problem.block_seconds, problem.stage_seconds, problem.block_bytes, problem.capacity_bytes):
        array[1] = array[0]
    links = problem.link_seconds
    links[1], links[:, 1] = links[0], links[:, 0]
    links[0, 1] = links[1, 0] = links[0, 0]
    return problem


def every_plan(blocks: int, devices: int):
    for count in range(1, min(blocks, devices) + 1):
        for cuts, order in product(combinations(range(1, blocks), count - 1), permutations(range(devices), count)):
            edges = (0, *cuts, blocks)
            yield tuple(ChainStage(d, edges[i], edges[i + 1]) for i, d in enumerate(order))


def figures(problem: ChainProblem) -> list[tuple[float, float]]:
    plans = (score(problem, stages) for stages in every_plan(problem.block_count, problem.device_count))
    return [(p.latency_seconds, p.bottleneck_seconds) for p in plans if np.isfinite(p.latency_seconds)]


problems = st.builds(random_problem, st.integers(0, 2**32 - 1), st.integers(1, 7), st.integers(1, 4))


@given(problems)
@settings(max_examples=150, deadline=None)
def test_solution_equals_brute_force(problem):
    known = figures(problem)
    fastest, widest = solve_chain(problem, "latency"), solve_chain(problem, "throughput")
    assert (fastest is None) == (widest is None) == (not known)
    if fastest is not None and widest is not None:
        assert fastest.latency_seconds == pytest.approx(min(latency for latency, _ in known))
        assert widest.bottleneck_seconds == pytest.approx(min(bottleneck for _, bottleneck in known))


@given(problems, st.floats(0.3, 3.0))
@settings(max_examples=80, deadline=None)
def test_latency_under_a_bottleneck_bound_equals_brute_force(problem, bound):
    allowed = [latency for latency, bottleneck in figures(problem) if bottleneck <= bound]
    solution = solve_chain(problem, "latency", bound)
    assert (solution is None) == (not allowed)
    if solution is not None:
        assert solution.latency_seconds == pytest.approx(min(allowed))


@given(problems)
@settings(max_examples=60, deadline=None)
def test_pareto_list_equals_brute_force(problem):
    known = figures(problem)
    front = {p for p in known if not any(q[0] <= p[0] and q[1] <= p[1] and q != p for q in known)}
    found = [(s.latency_seconds, s.bottleneck_seconds) for s in pareto(problem)]
    assert len(found) >= 1 or not known
    for latency, bottleneck in front:
        assert any(np.isclose(latency, a) and np.isclose(bottleneck, b) for a, b in found)


def test_lost_device_holds_nothing():
    problem = random_problem(7, 6, 3)
    problem = replace(problem, block_seconds=np.where(np.isinf(problem.block_seconds), 1.0, problem.block_seconds))
    problem = replace(problem, capacity_bytes=np.full(3, 10.0))
    for lost in range(3):
        solution = solve_chain(without_device(problem, lost), "latency")
        assert solution is not None
        assert lost not in {stage.device for stage in solution.stages}


def test_devices_that_are_alike_are_used_one_after_another():
    problem = make_alike(random_problem(3, 6, 2))
    problem = replace(problem, block_seconds=np.ones((2, 6)), capacity_bytes=np.full(2, 10.0))
    problem = replace(problem, link_seconds=np.zeros_like(problem.link_seconds))
    solution = solve_chain(problem, "throughput")
    assert solution is not None
    assert [(s.first, s.last) for s in solution.stages] == [(0, 3), (3, 6)]
