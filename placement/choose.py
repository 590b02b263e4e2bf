"""The door: one problem in, one answer out, with its figures, what binds, what else there was, and what was refused.

The best plan is found exactly, then compared with every baseline; of plans that differ by less than the model's error
the one with fewer stages is taken, so that nothing is cut for a gain that may not be there.
"""

import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from placement.baselines import Baseline, baselines
from placement.constraints import PlacementRefusal, RefusalReason
from placement.costs import CostModel
from placement.errors import InfeasibleError
from placement.evaluation import LaneStage, Values, evaluate
from placement.feasibility import Binding, binding_constraints, why_infeasible
from placement.figures import Figures, figures_of, plan_of
from placement.masks import Mask, forbidden_stages
from placement.problem import Objective, PlacementProblem, check_problem
from placement.refusals import refusals
from placement.solve import Solver
from placement.types import Plan
from placement.wording import amount

#: Two plans of one measured fleet are off in the same direction, so that a larger difference between them counts,
#: however unsure their times are. As large as errors of whole requests were seen to be (docs/benchmarks.md).
_BETWEEN_PLANS = 0.05


@dataclass(frozen=True, slots=True)
class Alternative:
    """A plan that was scored. `refusal` says why it may not be used; its figures are given all the same."""

    name: str
    plan: Plan
    figures: Figures
    refusal: PlacementRefusal | None = None


@dataclass(frozen=True, slots=True)
class Choice:
    """The answer. `alternatives` holds every plan that was scored, the best first, the chosen one among them.

    `gap` is how far the best plan found may be from the best there is, of its value: 0 where the search was exact.
    `relative_error` is how far the chosen plan's times may be off. `seconds` is what choosing took.
    """

    objective: Objective
    plan: Plan
    figures: Figures
    alternatives: tuple[Alternative, ...]
    bindings: tuple[Binding, ...]
    refusals: tuple[PlacementRefusal, ...]
    relative_error: float
    gap: float
    seconds: float


@dataclass(frozen=True, slots=True)
class _Candidate:
    name: str
    stages: tuple[LaneStage, ...]
    values: Values
    refusal: PlacementRefusal | None


def choose(problem: PlacementProblem) -> Choice:
    """The best legal plan for the problem's objective and bounds.

    Raises InfeasibleError, naming the constraint to lift, where no plan is legal; PlacementError, ProfileError or
    UnknownDeviceError for a problem that cannot be.
    """
    started = time.perf_counter()
    check_problem(problem)
    return choose_with(CostModel(problem), started=started)


def choose_with(
    costs: CostModel, *, lost: Collection[int] = (), bindings: bool = True, started: float | None = None
) -> Choice:
    """`choose` on cost tables that exist already, as if the devices of these numbers were lost.

    Without `bindings` it is not asked what lifting a constraint would gain.
    """
    begun = time.perf_counter() if started is None else started
    problem, masks = costs.problem, forbidden_stages(costs, lost)
    solver = Solver(costs, masks)
    solution = solver.solve(problem.objective, problem.bounds)
    if not solution.plans:
        raise InfeasibleError(why_infeasible(solver))
    found = [Baseline("best plan", solution.plans[0])]
    found += [Baseline(f"best of {len(plan)} or fewer stages", plan) for plan in solution.plans[1:]]
    candidates = _candidates(costs, (*found, *baselines(costs, masks)))
    legal = [each for each in candidates if each.refusal is None]
    best = min(legal, key=lambda each: each.values.of(problem.objective))
    found_bindings = binding_constraints(solver, best.values.of(problem.objective)) if bindings else ()
    return _choice(costs, candidates, _simplest(costs, legal, best), found_bindings, (solution.proven, masks, begun))


def _candidates(costs: CostModel, found: Iterable[Baseline]) -> list[_Candidate]:
    """Each plan once, under the first of its names."""
    distinct: dict[tuple[LaneStage, ...], _Candidate] = {}
    for each in found:
        if each.stages not in distinct:
            values = evaluate(costs, each.stages)
            refusal = each.refusal or _bound_refusal(costs.problem, values)
            distinct[each.stages] = _Candidate(each.name, each.stages, values, refusal)
        elif each.name == "current plan" or each.name.endswith(" alone"):
            distinct[each.stages] = replace(distinct[each.stages], name=each.name)
    return list(distinct.values())


def _bound_refusal(problem: PlacementProblem, values: Values) -> PlacementRefusal | None:
    if values.meets(problem.bounds):
        return None
    bounds = ", ".join(f"{name} {value:g}" for name, value in problem.bounds.given().items())
    return PlacementRefusal(RefusalReason.BOUND, f"the plan does not keep what was asked: {bounds}")


def _simplest(costs: CostModel, legal: Sequence[_Candidate], best: _Candidate) -> _Candidate:
    """The plan of fewest stages among those that the model cannot tell from the best; of these the best."""
    objective = costs.problem.objective
    limit = best.values.of(objective) * (1 + _indistinct(figures_of(costs, best.stages)))
    close = [each for each in legal if each.values.of(objective) <= limit]
    return min(close, key=lambda each: (len(each.stages), each.values.of(objective)))


def _indistinct(figures: Figures) -> float:
    """Part of the best plan's value by which another may be worse and still be as good, for all that is known."""
    return min(figures.relative_error, _BETWEEN_PLANS) if figures.measured else figures.relative_error


def _choice(
    costs: CostModel,
    candidates: Sequence[_Candidate],
    chosen: _Candidate,
    bindings: tuple[Binding, ...],
    search: tuple[float, Mapping[RefusalReason, Mask], float],
) -> Choice:
    proven, masks, begun = search
    objective, figures = costs.problem.objective, figures_of(costs, chosen.stages)
    ordered = sorted(candidates, key=lambda each: (each.refusal is not None, each.values.of(objective)))
    scored = tuple(
        Alternative(each.name, plan_of(costs, each.stages, each.name), figures_of(costs, each.stages), each.refusal)
        for each in ordered
    )
    value = ordered[0].values.of(objective)
    return Choice(
        objective,
        plan_of(costs, chosen.stages, _reason(chosen, ordered[0], figures, objective)),
        figures,
        scored,
        bindings,
        refusals(costs, masks),
        figures.relative_error,
        max(0.0, (value - proven) / value) if value else 0.0,
        time.perf_counter() - begun,
    )


def _reason(chosen: _Candidate, best: _Candidate, figures: Figures, objective: Objective) -> str:
    value, error = chosen.values.of(objective), f"within {figures.relative_error:.0%}"
    said = f"{chosen.name}: {amount(objective, value)} expected, {error}"
    if chosen is best:
        return f"{said}; no legal plan was found to be better"
    gain = 1 - best.values.of(objective) / value
    return (
        f"{said}; the best plan found, of {len(best.stages)} stages, would be {gain:.1%} better, which is inside the"
        " model's error, so that the simpler one is taken"
    )
