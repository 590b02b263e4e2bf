"""Public placement workloads: values known from their authors' programmes, and files that are refused."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from placement.errors import InfeasibleError, WorkloadError
from placement.graph_latency import LatencyEvaluator
from placement.graph_plan import plan_graph
from placement.ideals import enumerate_ideals, solve_contiguous
from placement.milp import largest_load
from placement.workload import read_workload, workload_from

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
