"""Which constraint binds: what lifting one would gain, or, where no plan is legal, which one must be lifted.

Asks the solver again without a constraint; changes nothing.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import combinations

from placement.constraints import WAY_OUT, RefusalReason
from placement.problem import Bounds, Objective, PlacementProblem
from placement.solve import Solver

#: A constraint binds if the plan would be better by at least this much without it.
_LEAST_GAIN = 1e-3


@dataclass(frozen=True, slots=True)
class Binding:
    """Without this constraint the objective's figure, smaller is better, would be `value` instead."""

    reason: RefusalReason
    value: float
    sentence: str


def present_reasons(solver: Solver) -> tuple[RefusalReason, ...]:
    """The reasons that rule something out in this problem."""
    problem = solver.costs.problem
    reasons = [reason for reason in solver.masks if reason is not RefusalReason.LOST]
    reasons += [RefusalReason.BOUND] if problem.bounds.given() else []
    reasons += [RefusalReason.STAGE_COUNT] if problem.constraints.max_stages is not None else []
    return tuple(reasons)


def binding_constraints(solver: Solver, value: float) -> tuple[Binding, ...]:
    """Constraints that cost something, the dearest first. What an engine refused cannot be lifted and is left out."""
    problem = solver.costs.problem
    reasons = [reason for reason in present_reasons(solver) if reason is not RefusalReason.ENGINE]
    if not reasons or _value_without(solver, reasons, value) is None:
        return ()
    found = [(reason, _value_without(solver, [reason], value)) for reason in reasons]
    bindings = [Binding(r, v, _gain(r, v / value - 1, problem.objective)) for r, v in found if v is not None]
    return tuple(sorted(bindings, key=lambda binding: binding.value))


def _value_without(solver: Solver, reasons: Iterable[RefusalReason], value: float) -> float | None:
    problem, upper = solver.costs.problem, value * (1 - _LEAST_GAIN)
    solution = solver.solve(problem.objective, problem.bounds, lifted=reasons, upper=upper)
    return solution.value if solution.plans else None


def _gain(reason: RefusalReason, change: float, objective: Objective) -> str:
    return f"{reason} binds: without it the {objective} figure would be {-change:.0%} lower; {WAY_OUT[reason]}"


def why_infeasible(solver: Solver) -> str:
    """One sentence: which constraint, or which together, must be lifted for any plan to be legal."""
    reasons = present_reasons(solver)
    for size in range(1, len(reasons) + 1):
        sets = [lifted for lifted in combinations(reasons, size) if _is_feasible(solver, lifted)]
        if sets:
            return _sentence(solver.costs.problem, sets)
    return "no legal plan exists: no device can hold any block of the model"


def _is_feasible(solver: Solver, lifted: Iterable[RefusalReason]) -> bool:
    problem, free = solver.costs.problem, set(lifted)
    # Whether anything is legal does not depend on the objective where no bound holds.
    bounds = Bounds() if RefusalReason.BOUND in free else problem.bounds
    return bool(solver.solve(Objective.LATENCY, bounds, lifted=free).plans)


def _sentence(problem: PlacementProblem, sets: list[tuple[RefusalReason, ...]]) -> str:
    ways = [" and ".join(f"{reason} ({WAY_OUT[reason]})" for reason in lifted) for lifted in sets]
    what = "lift" if len(ways) == 1 else "lift one of"
    devices = ", ".join(device.name for device in problem.devices)
    return f"no plan on {devices} is legal; {what}: {'; or '.join(ways)}"
