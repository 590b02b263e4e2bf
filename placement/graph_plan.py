"""One door to the solvers of workload graphs: value, proven bound, gap, seconds and the assignment by node id."""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from placement.graph_contiguous import contiguous_plan
from placement.graph_latency import solve_latency
from placement.graph_throughput import any_plan, start_for
from placement.workload import Workload, read_workload
from placement.workload_order import Contiguity

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

    An answer comes however large the graph is; `gap` says what is not proven. Raises WorkloadError for an unusable
    file, InfeasibleError where no plan is legal.
    """
    started = time.monotonic()
    deadline = started + time_limit_seconds
    order = Contiguity.ALL if objective == "latency" else Contiguity.FORWARD
    workload = read_workload(path, accelerator_count, contiguity=order)
    if objective == "latency":
        latency = solve_latency(workload, deadline)
        value, bound, device_of = latency.latency_milliseconds, latency.bound_milliseconds, latency.device_of
    elif contiguous:
        plan = contiguous_plan(workload, deadline)
        value, bound, device_of = plan.milliseconds, plan.bound_milliseconds, plan.device_of
    else:
        free = read_workload(path, workload.accelerator_count, contiguity=Contiguity.NONE)
        plan = any_plan(free, start_for(workload, free, deadline), deadline)
        value, bound, device_of, workload = plan.milliseconds, plan.bound_milliseconds, plan.device_of, free
    return GraphPlan(value, bound, time.monotonic() - started, _by_node(workload, device_of))


def _by_node(workload: Workload, device_of: tuple[int, ...]) -> dict[int, str]:
    accelerators = workload.accelerator_count
    names = {d: f"accelerator{d}" if d < accelerators else f"cpu{d - accelerators}" for d in set(device_of)}
    return {
        node_id: names[device]
        for group, device in zip(workload.groups, device_of, strict=True)
        for node_id in group.node_ids
    }
