"""Non-contiguous plans of a workload for throughput, as a mixed-integer programme solved by HiGHS (through scipy).

Formulation after Tarnawski et al. (NeurIPS 2020): one binary a (group, device); for every transfer and accelerator two
variables, in and out, that are 1 where the transfer crosses that accelerator's boundary; the largest load is minimised.
Always returns a value, a proven bound and the gap between them.
"""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import Bounds, LinearConstraint, milp
from scipy.sparse import coo_matrix

from placement.errors import InfeasibleError
from placement.workload import Workload

#: HiGHS' status, as scipy hands it on.
_INFEASIBLE = 2


@dataclass(frozen=True, slots=True)
class MilpSolution:
    """`device_of[g]` as in `ContiguousSolution`; None if the time ran out before any plan was found."""

    max_load_milliseconds: float
    bound_milliseconds: float
    device_of: tuple[int, ...] | None


class _Rows:
    """Rows of a sparse constraint matrix, filled one at a time: lower <= row @ variables <= upper."""

    def __init__(self) -> None:
        self.row: list[int] = []
        self.column: list[int] = []
        self.value: list[float] = []
        self.lower: list[float] = []
        self.upper: list[float] = []

    def add(self, terms: list[tuple[int, float]], lower: float, upper: float) -> None:
        self.row += [len(self.lower)] * len(terms)
        self.column += [column for column, _ in terms]
        self.value += [value for _, value in terms]
        self.lower.append(lower)
        self.upper.append(upper)

    def constraint(self, columns: int) -> LinearConstraint:
        matrix = coo_matrix((self.value, (self.row, self.column)), shape=(len(self.lower), columns)).tocsr()
        return LinearConstraint(matrix, self.lower, self.upper)


class _Columns:
    """Where each variable stands: x[group, device], then in and out [transfer, accelerator], then the largest load."""

    def __init__(self, workload: Workload) -> None:
        self.accelerators = workload.accelerator_count
        self.devices = workload.accelerator_count + workload.cpu_count
        self.groups, self.transfers = len(workload.groups), len(workload.transfers)
        self.largest = self.groups * self.devices + 2 * self.transfers * self.accelerators
        self.count = self.largest + 1

    def on(self, group: int, device: int) -> int:
        return group * self.devices + device

    def crossing(self, transfer: int, accelerator: int, *, leaving: bool) -> int:
        start = self.groups * self.devices + (self.transfers * self.accelerators if leaving else 0)
        return start + transfer * self.accelerators + accelerator


def solve_non_contiguous(
    workload: Workload, upper_milliseconds: float, time_limit_seconds: float, relative_gap: float = 1e-4
) -> MilpSolution:
    """The least maximum load over all plans, contiguous or not.

    `upper_milliseconds` is the value of a plan that is known already, inf if none is; only plans that are better by
    more than `relative_gap` are looked for, and if there is none that is the bound. Raises InfeasibleError if none was
    known and no plan is legal.
    """
    columns = _Columns(workload)
    if columns.devices == 0:
        raise InfeasibleError("there is no device: give --devices 1 or more")
    wanted = upper_milliseconds * (1 - relative_gap)
    result = _run(workload, columns, wanted, {"time_limit": max(0.1, time_limit_seconds), "mip_rel_gap": relative_gap})
    if getattr(result, "status", 4) == _INFEASIBLE and np.isfinite(upper_milliseconds):
        return MilpSolution(float("inf"), wanted, None)
    return _solution(result, workload, columns)


def _run(workload: Workload, columns: _Columns, most: float, options: dict[str, float]) -> object:
    """HiGHS' answer, where the largest load may be `most`; what alone takes longer on a device is not put there."""
    upper = np.ones(columns.count)
    upper[columns.largest] = most
    for group, item in enumerate(workload.groups):
        for device in range(columns.devices):
            on_accelerator = device < columns.accelerators
            alone = item.accelerator_milliseconds if on_accelerator else item.cpu_milliseconds
            if alone > most * (1 + 1e-9) or (on_accelerator and not item.accelerator_legal):
                upper[columns.on(group, device)] = 0
    integrality = np.zeros(columns.count)
    integrality[: columns.groups * columns.devices] = 1
    cost = np.zeros(columns.count)
    cost[columns.largest] = 1
    constraint = _constraints(workload, columns).constraint(columns.count)
    with _stdout_kept_clean():
        return milp(
            cost,
            constraints=constraint,
            bounds=Bounds(np.zeros(columns.count), upper),
            integrality=integrality,
            options=options,
        )


@contextmanager
def _stdout_kept_clean() -> Iterator[None]:
    """Send file descriptor 1 to 2 meanwhile: HiGHS prints debug lines there whatever its options say."""
    sys.stdout.flush()
    saved = os.dup(1)
    os.dup2(2, 1)
    try:
        yield
    finally:
        os.dup2(saved, 1)
        os.close(saved)


def _constraints(workload: Workload, columns: _Columns) -> _Rows:
    rows = _Rows()
    for group in range(columns.groups):
        rows.add([(columns.on(group, d), 1.0) for d in range(columns.devices)], 1.0, 1.0)
    for device in range(columns.devices):
        rows.add([*_load_terms(workload, columns, device), (columns.largest, -1.0)], -np.inf, 0.0)
    for device in range(columns.accelerators):
        _add_crossings(workload, columns, device, rows)
        if np.isfinite(workload.accelerator_bytes):
            sizes = [(columns.on(g, device), item.size_bytes) for g, item in enumerate(workload.groups)]
            rows.add(sizes, -np.inf, workload.accelerator_bytes)
    _break_symmetry(workload, columns, rows)
    return rows


def _load_terms(workload: Workload, columns: _Columns, device: int) -> list[tuple[int, float]]:
    if device >= columns.accelerators:
        return [(columns.on(g, device), item.cpu_milliseconds) for g, item in enumerate(workload.groups)]
    terms = [(columns.on(g, device), item.accelerator_milliseconds) for g, item in enumerate(workload.groups)]
    for t, transfer in enumerate(workload.transfers):
        terms += [(columns.crossing(t, device, leaving=leaving), transfer.milliseconds) for leaving in (False, True)]
    return terms


def _add_crossings(workload: Workload, columns: _Columns, device: int, rows: _Rows) -> None:
    for t, transfer in enumerate(workload.transfers):
        entering = columns.crossing(t, device, leaving=False)
        leaving = columns.crossing(t, device, leaving=True)
        source = columns.on(transfer.source, device)
        for target_group in transfer.targets:
            target = columns.on(target_group, device)
            rows.add([(entering, 1.0), (target, -1.0), (source, 1.0)], 0.0, np.inf)
            rows.add([(leaving, 1.0), (source, -1.0), (target, 1.0)], 0.0, np.inf)


def _break_symmetry(workload: Workload, columns: _Columns, rows: _Rows) -> None:
    """Identical accelerators are interchangeable: their compute may be asked to fall from the first to the last."""
    compute = [item.accelerator_milliseconds for item in workload.groups]
    for device in range(columns.accelerators - 1):
        terms = [(columns.on(g, device), value) for g, value in enumerate(compute) if value]
        terms += [(columns.on(g, device + 1), -value) for g, value in enumerate(compute) if value]
        rows.add(terms, 0.0, np.inf)


def _solution(result: object, workload: Workload, columns: _Columns) -> MilpSolution:
    status, found = getattr(result, "status", 4), getattr(result, "x", None)
    bound = getattr(result, "mip_dual_bound", None)
    if status == _INFEASIBLE:
        raise InfeasibleError("no plan is legal: no split fits the accelerators' memory and the CPUs")
    if found is None:
        return MilpSolution(float("inf"), float(bound or 0.0), None)
    chosen: NDArray[np.int64] = found[: columns.groups * columns.devices].reshape(columns.groups, -1).argmax(axis=1)
    device_of = tuple(int(d) for d in chosen)
    return MilpSolution(largest_load(workload, device_of), float(bound or 0.0), device_of)


def largest_load(workload: Workload, device_of: tuple[int, ...]) -> float:
    """The largest load of any device under an assignment, in milliseconds, counted from the definition."""
    accelerators = workload.accelerator_count
    loads = [0.0] * (accelerators + workload.cpu_count)
    for group, device in zip(workload.groups, device_of, strict=True):
        loads[device] += group.accelerator_milliseconds if device < accelerators else group.cpu_milliseconds
    for transfer in workload.transfers:
        source, targets = device_of[transfer.source], {device_of[t] for t in transfer.targets}
        if source < accelerators and targets - {source}:
            loads[source] += transfer.milliseconds
        for device in targets - {source}:
            if device < accelerators:
                loads[device] += transfer.milliseconds
    return max(loads)
