"""Plans of which none is better in both of two figures: the least of the first, then ever less of the second.

Epsilon constraint: after each plan the next is the best by the first figure among those strictly better by the second.
"""

import sys
from dataclasses import dataclass, replace

from placement.costs import CostModel
from placement.errors import PlacementError
from placement.evaluation import LaneStage, Values, evaluate
from placement.figures import Figures, figures_of, plan_of
from placement.masks import forbidden_stages
from placement.problem import Bounds, Objective, PlacementProblem, check_problem
from placement.solve import Solver
from placement.types import Plan

#: Equal figures may differ by rounding: the step to the next plan must exceed it.
_STEP = 1e-6


@dataclass(frozen=True, slots=True)
class ParetoPlan:
    """One plan of the list, with its figures."""

    plan: Plan
    figures: Figures


def pareto_choices(problem: PlacementProblem, second: Objective, limit: int = 32) -> tuple[ParetoPlan, ...]:
    """From the best plan by the problem's own objective to the best by `second`; the problem's bounds hold throughout.

    Empty where no plan is legal. Raises PlacementError where both objectives are one.
    """
    if second is problem.objective:
        raise PlacementError(f"a Pareto list needs two objectives; both are {second}")
    if Objective.ENERGY in (problem.objective, second) and problem.bounds.energy_joules is None:
        # Devices of unknown power are refused as soon as energy is bounded.
        problem = replace(problem, bounds=replace(problem.bounds, energy_joules=sys.float_info.max))
    check_problem(problem)
    costs = CostModel(problem)
    solver = Solver(costs, forbidden_stages(costs))
    found: list[tuple[LaneStage, ...]] = []
    bounds = problem.bounds
    while len(found) < limit:
        solution = solver.solve(problem.objective, bounds)
        if not solution.plans:
            break
        values = evaluate(costs, solution.plans[0])
        _add(costs, found, solution.plans[0], values, problem.objective, second)
        bounds = _tighter(problem.bounds, second, values.of(second) * (1 - _STEP))
    return tuple(
        ParetoPlan(plan_of(costs, stages, f"{problem.objective} against {second}"), figures_of(costs, stages))
        for stages in found
    )


def _add(
    costs: CostModel,
    found: list[tuple[LaneStage, ...]],
    stages: tuple[LaneStage, ...],
    values: Values,
    first: Objective,
    second: Objective,
) -> None:
    """Append a plan; drop the one before it if this one equals it in the first figure and is better in the second."""
    if found:
        before = evaluate(costs, found[-1])
        if before.of(first) >= values.of(first) * (1 - _STEP) and before.of(second) >= values.of(second):
            found.pop()
    found.append(stages)


def _tighter(bounds: Bounds, objective: Objective, limit: float) -> Bounds:
    if objective is Objective.LATENCY:
        return replace(bounds, latency_seconds=limit)
    if objective is Objective.FIRST_TOKEN:
        return replace(bounds, first_token_seconds=limit)
    if objective is Objective.THROUGHPUT:
        return replace(bounds, requests_per_second=1 / limit)
    return replace(bounds, energy_joules=limit)
