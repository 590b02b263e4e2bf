"""Which exits to keep and where to cut the model, chosen together: deep stages shrink behind an exit that many take.

Knows what exits said of texts held out, and the placer; knows neither files nor flags. For one set of exits the placer
is exact, and every set of a few is tried, so that the answer is the best of all pairs.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from adaptive.keeping import Kept, kept_at, kept_sets
from adaptive.load import KvRule, survival_weights
from adaptive.replay import Observations
from hetero.exits.calibration import Wishes, fitted_policy, planned_disagreement
from placement import Choice, choose, format_plan
from placement.choose import choose_with
from placement.costs import CostModel
from placement.masks import forbidden_stages
from placement.problem import ExitPoint, PlacementProblem, Traffic
from placement.solve import Solver
from placement.wording import amount

#: Positions that are combined; of more exits those that are worth most alone.
MOST_POSITIONS = 12


@dataclass(frozen=True, slots=True)
class ExitSet:
    """Exits after so many blocks; for each block the share of inputs that reach it; blocks run for an input, heads
    included."""

    depths: tuple[int, ...]
    survival: tuple[float, ...]
    cost_blocks: float


@dataclass(frozen=True, slots=True)
class Together:
    """The exits and the choice of a plan for them. Values are the best that a set of exits allows, smaller is better.

    `fewest` is the set that runs the fewest blocks, which would be kept without a look at the devices; `full_value` is
    that of no exits, infinite where no plan is legal. Of `sets` sets `searched` could not be ruled out beforehand.
    """

    exits: ExitSet
    value: float
    problem: PlacementProblem
    choice: Choice
    fewest: ExitSet
    fewest_value: float
    full_value: float
    sets: int
    searched: int

    def account(self) -> str:
        """In words, what was chosen, against what, and what makes it so."""
        at, objective = _listed(self.exits.depths), self.choice.objective
        said = [f"exits and cuts were chosen together among {self.sets} sets of exits", f"{at}: at best {self._of()}"]
        if self.fewest.depths != self.exits.depths:
            said.append(f"{_listed(self.fewest.depths)}, of the fewest blocks: {amount(objective, self.fewest_value)}")
        if self.exits.depths:
            said.append(f"no exits: {amount(objective, self.full_value)}")
            depths, plan = ",".join(map(str, self.exits.depths)), format_plan(self.choice.plan)
            said.append(f"`hetero calibrate MODEL --data TEXTS --at {depths} --plan {plan!r}` certifies them")
        return "; ".join(said)

    def _of(self) -> str:
        return amount(self.choice.objective, self.value)


def exit_sets(held_out: Observations, head_blocks: float, wishes: Wishes) -> tuple[ExitSet, ...]:
    """Every set of exits of which each pays, by what held-out texts do at the lowest threshold planned for; and none.

    Raises adaptive.AdaptiveError for too few texts.
    """
    policy, _ = fitted_policy(held_out, wishes.measure)
    most = planned_disagreement(held_out, wishes.epsilon)
    numbers = range(len(held_out.depths))
    if len(numbers) > MOST_POSITIONS:
        alone = [(kept_at(policy, held_out, (number,), head_blocks, most), number) for number in numbers]
        worth = sorted((kept.cost_blocks, number) for kept, number in alone if kept is not None)
        chosen = sorted(number for _, number in worth[:MOST_POSITIONS])
    else:
        chosen = list(numbers)
    found = kept_sets(policy, held_out, chosen, head_blocks, most, wishes.most_exits)
    return (full_depth(held_out.block_count), *(_exit_set(kept, held_out.depths) for kept in found))


def full_depth(block_count: int) -> ExitSet:
    """No exits."""
    return ExitSet((), (1.0,) * block_count, float(block_count))


def choose_together(problem: PlacementProblem, sets: Sequence[ExitSet], head_blocks: float) -> Together:
    """The pair of a set of exits and a legal plan that is best for the problem's objective and bounds, of all pairs.

    `sets` holds the one without exits. Sets that run few blocks come first; the best so far is the limit of later
    searches, and a set is not searched at all where another costs no block more and has no further exit. Raises as
    `placement.choose`.
    """
    base = CostModel(problem)
    masks = forbidden_stages(base)

    def best_value(exits: ExitSet, upper: float = float("inf")) -> float:
        costs = base.under(_traffic(problem.traffic, exits, head_blocks))
        return Solver(costs, masks).solve(problem.objective, problem.bounds, upper=upper).value

    ordered = sorted(sets, key=lambda each: (each.cost_blocks, len(each.depths)))
    values = {ordered[0].depths: best_value(ordered[0])}
    best = ordered[0]
    for each in _undominated(ordered):
        if each.depths not in values:
            values[each.depths] = best_value(each, values[best.depths])
            best = min(best, each, key=lambda one: values[one.depths])
    chosen = replace(problem, traffic=_traffic(problem.traffic, best, head_blocks))
    full = best_value(next(each for each in ordered if not each.depths))
    return Together(
        best,
        values[best.depths],
        chosen,
        choose_with(base.under(chosen.traffic)) if values[best.depths] < float("inf") else choose(chosen),
        ordered[0],
        values[ordered[0].depths],
        full,
        len(sets),
        len(values),
    )


def _traffic(traffic: Traffic, exits: ExitSet, head_blocks: float) -> Traffic:
    points = tuple(ExitPoint(depth, head_blocks) for depth in exits.depths)
    return replace(traffic, survival=exits.survival, exits=points)


def _undominated(sets: Sequence[ExitSet]) -> Iterator[ExitSet]:
    """The sets that none before them beats on every plan: by no more work in any block, at no exit besides."""
    kept: list[ExitSet] = []
    for each in sets:
        if not any(_dominates(other, each) for other in kept):
            kept.append(each)
            yield each


def _dominates(one: ExitSet, other: ExitSet) -> bool:
    fewer = set(one.depths) <= set(other.depths)
    return fewer and all(a <= b for a, b in zip(one.survival, other.survival, strict=True))


def _exit_set(kept: Kept, depths: Sequence[int]) -> ExitSet:
    weights = survival_weights(kept.profile, KvRule.NONE)
    return ExitSet(tuple(depths[index] for index in kept.exits), weights, kept.cost_blocks)


def _listed(depths: Sequence[int]) -> str:
    return f"exits at {', '.join(map(str, depths))}" if depths else "no exits"
