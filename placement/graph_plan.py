"""One door to the solvers of workload graphs: value, proven bound, gap, seconds and the assignment by node id."""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from placement.errors import WorkloadError
from placement.graph_latency import solve_latency
from placement.ideals import IDEAL_CAP, enumerate_ideals, solve_contiguous
from placement.milp import solve_non_contiguous
from placement.workload import Workload, read_workload

Objective = Literal["throughput", "latency"]


@dataclass(frozen=True, slots=True)
class GraphPlan:
    """`objective` and `bound` in the file's milliseconds; `gap` is (objective - bound) / objective."""

    objective: float
    bound: float
    seconds: float
    assignment: dict[int, str]

    @property
    def gap(self) -> float:
        return max(0.0, (self.objective - self.bound) / self.objective) if self.objective else 0.0


def plan_graph(
    path: Path,
    objective: Objective,
    *,
    contiguous: bool = False,
    accelerator_count: int | None = None,
    time_limit_seconds: float = 60.0,
) -> GraphPlan:
    """Solve a workload file. Latency plans give each accelerator one contiguous piece; throughput plans need not.

    Raises WorkloadError for an unusable file, InfeasibleError where no plan is legal.
    """
    started = time.monotonic()
    workload = read_workload(path, accelerator_count)
    ideals = enumerate_ideals(workload)
    if objective == "latency":
        if ideals is None:
            raise WorkloadError(f"{path} has more than {IDEAL_CAP} ideals; its latency cannot be planned yet")
        latency = solve_latency(workload, ideals)
        value, bound, device_of = latency.latency_milliseconds, latency.bound_milliseconds, latency.device_of
    else:
        value, bound, device_of, workload = _throughput(workload, ideals, path, contiguous, time_limit_seconds)
    return GraphPlan(value, bound, time.monotonic() - started, _by_node(workload, device_of))


def _throughput(
    workload: Workload, ideals: np.ndarray | None, path: Path, contiguous: bool, time_limit_seconds: float
) -> tuple[float, float, tuple[int, ...], Workload]:
    if contiguous and ideals is None:
        raise WorkloadError(f"{path} has more than {IDEAL_CAP} ideals; ask for a plan without --contiguous")
    known = None if ideals is None else solve_contiguous(workload, ideals)
    if contiguous and known is not None:
        return known.max_load_milliseconds, known.max_load_milliseconds, known.device_of, workload
    upper = float("inf") if known is None else known.max_load_milliseconds
    free = read_workload(path, workload.accelerator_count, contract_cycles=False)
    better = solve_non_contiguous(free, upper, time_limit_seconds)
    if better.device_of is not None and better.max_load_milliseconds <= upper:
        return better.max_load_milliseconds, better.bound_milliseconds, better.device_of, free
    if known is None:
        raise WorkloadError(f"no plan was found within {time_limit_seconds:g} s; give a larger --time-limit")
    return upper, better.bound_milliseconds, known.device_of, workload


def _by_node(workload: Workload, device_of: tuple[int, ...]) -> dict[int, str]:
    accelerators = workload.accelerator_count
    names = {d: f"accelerator{d}" if d < accelerators else f"cpu{d - accelerators}" for d in set(device_of)}
    return {
        node_id: names[device]
        for group, device in zip(workload.groups, device_of, strict=True)
        for node_id in group.node_ids
    }
