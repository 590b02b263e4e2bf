"""Public placement workloads: values known from their authors' programmes, and files that are refused."""

import itertools
import json
import math
import random
import subprocess
import sys
from collections import Counter
from pathlib import Path

import networkx
import numpy as np
import pytest

from placement.errors import InfeasibleError, WorkloadError
from placement.graph_latency import LatencyEvaluator
from placement.graph_plan import plan_graph
from placement.ideals import enumerate_ideals, solve_contiguous
from placement.lower_bounds import lower_bound
from placement.milp import largest_load
from placement.workload import Workload, read_workload, workload_from
from placement.workload_order import Contiguity

DATA = Path(__file__).parent.parent / "data" / "placement"


@pytest.mark.parametrize(("graph", "milliseconds"), [("bert24", 17.7899), ("resnet50", 33.7747), ("bert_l-3", 27.9186)])
def test_contiguous_optimum_equals_the_published_one(graph, milliseconds):
    plan = plan_graph(DATA / f"throughput_{graph}.json", "throughput", contiguous=True)
    assert plan.objective == pytest.approx(milliseconds, rel=1e-4)
    assert plan.gap == 0


def test_non_contiguous_optimum_equals_the_published_one():
    plan = plan_graph(DATA / "throughput_bert_l-3.json", "throughput", time_limit_seconds=60)
    assert plan.objective == pytest.approx(21.9084, rel=1e-3)
    assert plan.gap < 1e-3


@pytest.mark.parametrize(("graph", "milliseconds"), [("bert24", 100.219), ("bert_l-3", 414.43)])
def test_latency_reaches_the_published_one(graph, milliseconds):
    plan = plan_graph(DATA / f"latency_{graph}.json", "latency")
    assert plan.bound <= plan.objective <= milliseconds * 1.0001


def test_contiguous_value_is_that_of_its_assignment():
    workload = read_workload(DATA / "throughput_bert24.json")
    ideals = enumerate_ideals(workload)
    assert ideals is not None
    solution = solve_contiguous(workload, ideals)
    assert largest_load(workload, solution.device_of) == pytest.approx(solution.max_load_milliseconds)


def chain(**changes):
    nodes = [{"id": i, "cpuLatency": 10.0, "fpgaLatency": 1.0, "size": 1.0, "supportedOnFpga": 1} for i in range(4)]
    edges = [{"sourceId": i, "destId": i + 1, "cost": 0.25} for i in range(3)]
    return {"nodes": nodes, "edges": edges, "maxFPGAs": 2, "maxCPUs": 0, "maxSizePerFPGA": 2.0} | changes


def test_small_chain_by_hand():
    workload = workload_from(chain())
    ideals = enumerate_ideals(workload)
    assert ideals is not None
    # Two nodes each, and the one transfer between them is paid by both sides.
    assert solve_contiguous(workload, ideals).max_load_milliseconds == pytest.approx(2.25)
    assert LatencyEvaluator(workload)((0, 0, 1, 1)) == pytest.approx(4.5)
    assert LatencyEvaluator(workload)((0, 1, 0, 1)) == np.inf


def test_too_little_memory_is_infeasible():
    workload = workload_from(chain(maxSizePerFPGA=1.0))
    ideals = enumerate_ideals(workload)
    assert ideals is not None
    with pytest.raises(InfeasibleError, match="no contiguous plan fits"):
        solve_contiguous(workload, ideals)


def with_node(**fields):
    document = chain()
    document["nodes"][2] |= fields
    return document


@pytest.mark.parametrize(
    ("document", "sentence"),
    [
        ({"nodes": []}, "the graph is empty"),
        ([], "the graph is empty"),
        (with_node(fpgaLatency=float("nan")), "fpgaLatency of node 2 is nan"),
        (with_node(fpgaLatency=-1.0), "fpgaLatency of node 2 is -1"),
        (with_node(size="big"), "size of node 2 is 'big'"),
        (with_node(id=1), "node 1 is there twice"),
        (chain(edges=[{"sourceId": 0, "destId": 9, "cost": 0}]), "edge 0 -> 9 names a node that is not there"),
        (chain(edges=[{"sourceId": 0, "destId": 1}, {"sourceId": 1, "destId": 0}]), "has a cycle"),
    ],
)
def test_bad_workload_is_refused_with_its_name(document, sentence):
    with pytest.raises(WorkloadError, match=sentence):
        workload_from(document)


def test_command_prints_one_json_document():
    command = [sys.executable, "-m", "placement", str(DATA / "throughput_bert_l-3.json"), "--contiguous", "--json"]
    printed = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    assert set(printed) == {"objective", "bound", "gap", "seconds", "assignment"}
    assert len(printed["assignment"]) == 235


def test_command_refuses_a_missing_file_with_status_2(tmp_path):
    command = [sys.executable, "-m", "placement", str(tmp_path / "none.json")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("error: cannot read")


def training(rng: random.Random) -> dict[str, object]:
    """A small training graph: each forward node's backward one runs the other way, some in a class of their own."""
    count = rng.randint(2, 5)
    forward = [(i, j) for i in range(count) for j in range(i + 1, count) if rng.random() < 0.4]
    edges = [*forward, *((10 + j, 10 + i) for i, j in forward), *((i, 10 + i) for i in range(count))]
    costs = {i: rng.uniform(0, 0.5) for i in (*range(count), *range(10, 10 + count))}
    nodes = [
        {"id": i, "cpuLatency": rng.uniform(0, 5), "fpgaLatency": rng.random(), "size": rng.random()}
        | {"isBackwardNode": i >= 10, "colorClass": i % 10 if rng.random() < 0.8 else 50 + i}
        | {"supportedOnFpga": rng.random() < 0.9}
        for i in costs
    ]
    moved = [{"sourceId": s, "destId": t, "cost": costs[s]} for s, t in edges]
    devices = {"maxFPGAs": rng.randint(1, 2), "maxCPUs": rng.randint(0, 1), "maxSizePerFPGA": rng.choice([2, 4, 100])}
    return {"nodes": nodes, "edges": moved, **devices}


def least_by_trying_all(workload: Workload) -> float:
    """Over all assignments whose pieces can be put in an order that the workload's order allows."""
    accelerators, groups = workload.accelerator_count, workload.groups
    best = math.inf
    for devices in itertools.product(range(accelerators + workload.cpu_count), repeat=len(groups)):
        placed = list(zip(groups, devices, strict=True))
        sizes = [sum(g.size_bytes for g, at in placed if at == d) for d in range(accelerators)]
        if any(d < accelerators and not g.accelerator_legal for g, d in placed):
            continue
        pieces = networkx.DiGraph((devices[s], devices[t]) for s, t in workload.order if devices[s] != devices[t])
        if max(sizes, default=0) <= workload.accelerator_bytes and networkx.is_directed_acyclic_graph(pieces):
            best = min(best, largest_load(workload, devices))
    return best


def test_contiguous_plans_of_training_graphs_equal_trying_all():
    """Forward nodes are contiguous, backward ones go with them, and transfers cost in both directions."""
    rng, infeasible = random.Random(1), 0
    for _ in range(150):
        workload = workload_from(training(rng))
        try:
            found = solve_contiguous(workload, enumerate_ideals(workload)).max_load_milliseconds
        except InfeasibleError:
            found, infeasible = math.inf, infeasible + 1
        assert found == pytest.approx(least_by_trying_all(workload), rel=1e-6)
    assert 0 < infeasible < 100


def test_layer_s_two_directions_do_not_join_all_layers_into_one():
    nodes = [{"id": i, "colorClass": i % 4, "isBackwardNode": i >= 4, "fpgaLatency": 1.0} for i in range(8)]
    edges = [{"sourceId": i, "destId": i + 1, "cost": 0.1} for i in range(3)]
    edges += [{"sourceId": 3, "destId": 7, "cost": 0.0}, *({"sourceId": i, "destId": i - 1} for i in (7, 6, 5))]
    workload = workload_from({"nodes": nodes, "edges": edges, "maxFPGAs": 2})
    assert [group.node_ids for group in workload.groups] == [(0, 4), (1, 5), (2, 6), (3, 7)]
    assert solve_contiguous(workload, enumerate_ideals(workload)).max_load_milliseconds == pytest.approx(4.1)


def strands(count: int, length: int) -> dict[str, object]:
    """Chains side by side: their ideals are (length + 1) to the power of `count`."""
    rng = random.Random(0)
    nodes = [
        {"id": i, "cpuLatency": 9.0, "fpgaLatency": rng.random(), "size": 1.0, "supportedOnFpga": True}
        for i in range(count * length)
    ]
    edges = [
        {"sourceId": i, "destId": i + 1, "cost": rng.random() / 10} for i in range(count * length) if (i + 1) % length
    ]
    return {"nodes": nodes, "edges": edges, "maxFPGAs": 4, "maxCPUs": 1, "maxSizePerFPGA": count * length / 3}


@pytest.mark.parametrize(("objective", "contiguous"), [("throughput", True), ("throughput", False), ("latency", True)])
def test_graph_of_too_many_ideals_has_a_legal_plan_and_a_bound(tmp_path, objective, contiguous):
    file = tmp_path / "strands.json"
    file.write_text(json.dumps(strands(6, 12)))
    plan = plan_graph(file, objective, contiguous=contiguous, time_limit_seconds=2)
    assert 0 < plan.bound <= plan.objective < math.inf
    held = Counter(device for device in plan.assignment.values() if device.startswith("accelerator"))
    assert len(plan.assignment) == 72 and max(held.values()) <= 24


@pytest.mark.parametrize("graph", ["throughput_bert24", "throughput_resnet50"])
def test_transfers_a_thousand_times_as_dear_leave_a_plan(tmp_path, graph):
    document = json.loads((DATA / f"{graph}.json").read_text())
    for edge in document["edges"]:
        edge["cost"] *= 1000
    file = tmp_path / "dear.json"
    file.write_text(json.dumps(document))
    together, apart = (plan_graph(file, "throughput", contiguous=c, time_limit_seconds=3) for c in (True, False))
    alone = sum(node["fpgaLatency"] for node in document["nodes"])
    assert apart.objective <= together.objective * (1 + 1e-9)
    assert together.gap == 0 or together.objective <= 2 * alone


def test_bound_is_below_every_plan_and_met_where_work_divides():
    rng = random.Random(2)
    for _ in range(60):
        workload = workload_from(training(rng) | {"maxSizePerFPGA": 100}, contiguity=Contiguity.NONE)
        best = least_by_trying_all(workload)
        assert lower_bound(workload, best * 1.2) <= best * (1 + 1e-9)
    # Four nodes of 1 ms on two accelerators, with no CPU: two each.
    assert lower_bound(workload_from(chain()), 10.0) == pytest.approx(2.0)
