"""Exact placement of a chain of blocks: which device takes which contiguous range, for latency or for throughput.

Pure arrays in, stages out: knows neither models nor where the numbers come from. Each device takes at most one range
and may be left out; the order of devices is chosen (`chain_search.py`). The hop from the last stage back to the host
and from the host to the first are links like others: every decoded token pays both.
"""

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from placement.chain_search import ChainSearch
from placement.chain_tables import ChainStage, ChainTables

Floats = NDArray[np.float64]
Objective = Literal["latency", "throughput"]

__all__ = [
    "ChainProblem",
    "ChainSolution",
    "ChainStage",
    "chain_tables",
    "pareto",
    "score",
    "solve_chain",
    "stage_table",
    "without_device",
]


@dataclass(frozen=True, slots=True)
class ChainProblem:
    """D devices, L blocks; the host that feeds the first stage and receives from the last is index D of the links.

    `block_seconds` [D, L], inf where a block is illegal on a device. `stage_seconds` [D]: what a stage costs besides
    its blocks. `block_bytes` [D, L], `capacity_bytes` [D]. `link_seconds` [D+1, D+1, L+1]: moving what crosses the
    boundary before block i from one device to another.
    """

    block_seconds: Floats
    stage_seconds: Floats
    block_bytes: Floats
    capacity_bytes: Floats
    link_seconds: Floats

    @property
    def device_count(self) -> int:
        return int(self.block_seconds.shape[0])

    @property
    def block_count(self) -> int:
        return int(self.block_seconds.shape[1])


@dataclass(frozen=True, slots=True)
class ChainSolution:
    """The stages in order and both figures of them: the sum of stages and links, and the largest of any."""

    stages: tuple[ChainStage, ...]
    latency_seconds: float
    bottleneck_seconds: float


def stage_table(problem: ChainProblem, bottleneck_bound_seconds: float = np.inf) -> Floats:
    """Seconds of every possible stage, [D, L+1, L+1] at (device, first, last); inf where illegal or too large."""
    blocks = problem.block_count
    legal = np.isfinite(problem.block_seconds)
    seconds = _prefix(np.where(legal, problem.block_seconds, 0.0))
    size, illegal = _prefix(problem.block_bytes), _prefix((~legal).astype(float))
    table = seconds[:, None, :] - seconds[:, :, None] + problem.stage_seconds[:, None, None]
    table[size[:, None, :] - size[:, :, None] > problem.capacity_bytes[:, None, None]] = np.inf
    table[illegal[:, None, :] - illegal[:, :, None] > 0.5] = np.inf
    table[:, np.tri(blocks + 1, dtype=bool)] = np.inf
    table[table > bottleneck_bound_seconds] = np.inf
    return table


def chain_tables(problem: ChainProblem, bottleneck_bound_seconds: float = np.inf) -> ChainTables:
    """The two tables that are searched; what takes longer than the bound is infinite."""
    links = np.where(problem.link_seconds > bottleneck_bound_seconds, np.inf, problem.link_seconds)
    return ChainTables(stage_table(problem, bottleneck_bound_seconds), links)


def solve_chain(
    problem: ChainProblem, objective: Objective, bottleneck_bound_seconds: float = np.inf
) -> ChainSolution | None:
    """The best plan, or None if no legal one exists.

    `bottleneck_bound_seconds` forbids stages and links that take longer: latency under a bound on throughput.
    """
    tables = chain_tables(problem, bottleneck_bound_seconds)
    stages = ChainSearch(tables, np.add if objective == "latency" else np.maximum).best()
    return None if stages is None else score(problem, stages)


def score(problem: ChainProblem, stages: tuple[ChainStage, ...]) -> ChainSolution:
    """Both figures of a given plan, counted from the definition; inf where a stage is illegal or does not fit."""
    host, parts = problem.device_count, []
    before = host
    for stage in stages:
        blocks = slice(stage.first, stage.last)
        parts.append(float(problem.link_seconds[before, stage.device, stage.first]))
        fits = problem.block_bytes[stage.device, blocks].sum() <= problem.capacity_bytes[stage.device]
        seconds = float(problem.block_seconds[stage.device, blocks].sum() + problem.stage_seconds[stage.device])
        parts.append(seconds if fits else np.inf)
        before = stage.device
    parts.append(float(problem.link_seconds[before, host, problem.block_count]))
    return ChainSolution(stages, sum(parts), max(parts))


def pareto(problem: ChainProblem, limit: int = 64) -> tuple[ChainSolution, ...]:
    """Plans of which none is better in both latency and bottleneck, from the fastest single request on.

    Epsilon constraint: after each plan the next is the fastest among those with a strictly smaller bottleneck.
    """
    found: list[ChainSolution] = []
    bound = np.inf
    while len(found) < limit:
        solution = solve_chain(problem, "latency", bound)
        if solution is None:
            break
        found.append(solution)
        # Stage times come from differences of prefix sums; the step down must exceed their rounding.
        bound = solution.bottleneck_seconds * (1 - 1e-9)
    return tuple(found)


def without_device(problem: ChainProblem, device: int) -> ChainProblem:
    """The same problem where `device` may hold nothing: the plan for its loss."""
    seconds = problem.block_seconds.copy()
    seconds[device] = np.inf
    return replace(problem, block_seconds=seconds)


def _prefix(values: Floats) -> Floats:
    return np.concatenate([np.zeros((len(values), 1)), np.cumsum(values, axis=1)], axis=1)
