"""When to think of another plan: the loss of a device, for which plans are at hand, and drift from what was predicted.

The decision only: knows neither actors nor how a pipeline is moved.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from placement.choose import Choice, choose_with
from placement.costs import CostModel
from placement.errors import InfeasibleError, PlacementError
from placement.figures import Figures, predict
from placement.problem import Objective, PlacementProblem, check_problem
from placement.profiles import Profile, SegmentTime
from placement.types import Layer, Plan, Stage


@dataclass(frozen=True, slots=True)
class LossPlan:
    """What to run when a device is lost: a choice, or the sentence that says why there is none."""

    lost: str
    choice: Choice | None
    refusal: str = ""


def plans_for_losses(problem: PlacementProblem) -> dict[str, LossPlan]:
    """A plan for the loss of each device, by its name. Constraints hold in full: what is not legal is refused."""
    check_problem(problem)
    costs = CostModel(problem)
    return {device.name: _without(costs, index) for index, device in enumerate(problem.devices)}


def _without(costs: CostModel, index: int) -> LossPlan:
    name = costs.devices[index].name
    try:
        return LossPlan(name, choose_with(costs, lost=(index,), bindings=False))
    except InfeasibleError as error:
        return LossPlan(name, None, str(error))


@dataclass(frozen=True, slots=True)
class DriftSettings:
    """When drift counts, and what moving costs.

    `weight` is that of the newest observation in the moving average; drift is a ratio beyond 1 + `threshold` or below
    its inverse, after `least_observations`. A move must gain `margin` times what it costs within `horizon_seconds`;
    after one proposal `cool_down_seconds` pass before the next.
    """

    weight: float = 0.2
    threshold: float = 0.15
    least_observations: int = 10
    horizon_seconds: float = 600.0
    cool_down_seconds: float = 120.0
    margin: float = 1.5


@dataclass(frozen=True, slots=True)
class MigrationCosts:
    """What moving takes: reading weights, compiling a block anew, computing the KV cache of what runs once more."""

    bytes_per_second: float = 1e9
    compile_seconds_per_block: float = 0.1
    restart_seconds: float = 1.0


@dataclass(frozen=True, slots=True)
class Proposal:
    """Another plan, why, what it gains (share of the time that is spent now), and what moving to it takes."""

    choice: Choice
    gain: float
    migration_seconds: float
    reason: str


@dataclass(slots=True)
class DriftMonitor:
    """The moving averages of measured over predicted seconds of a running plan's stages, by device; one owner.

    Times are given by the caller, in seconds of any steady clock.
    """

    problem: PlacementProblem
    plan: Plan
    settings: DriftSettings = field(default_factory=DriftSettings)
    ratios: dict[str, float] = field(default_factory=dict)
    observations: dict[str, int] = field(default_factory=dict)
    last_proposal_seconds: float = -math.inf

    def observe(self, device: str, measured_seconds: float, predicted_seconds: float) -> None:
        """Take in one stage's time. Raises PlacementError for a time that cannot be or a device that is not used."""
        if device not in {stage.device.name for stage in self.plan.stages}:
            raise PlacementError(f"device {device!r} holds no stage of the plan that runs")
        for seconds in (measured_seconds, predicted_seconds):
            if not math.isfinite(seconds) or seconds <= 0:
                raise PlacementError(f"a stage on {device} is said to take {seconds} seconds; it must be above 0")
        ratio, weight = measured_seconds / predicted_seconds, self.settings.weight
        # The first observation starts the average.
        before = self.ratios.get(device, ratio)
        self.ratios[device] = before + weight * (ratio - before)
        self.observations[device] = self.observations.get(device, 0) + 1

    def drifted(self) -> dict[str, float]:
        """Devices whose average is beyond the threshold, with the ratio."""
        limit = 1 + self.settings.threshold
        return {
            device: ratio
            for device, ratio in self.ratios.items()
            if self.observations[device] >= self.settings.least_observations and not 1 / limit < ratio < limit
        }

    def propose(self, now_seconds: float, migration: MigrationCosts = MigrationCosts()) -> Proposal | None:
        """A better plan for the times as they are now, if moving to it pays; None else, and while cooling down."""
        drifted = self.drifted()
        if not drifted or now_seconds - self.last_proposal_seconds < self.settings.cool_down_seconds:
            return None
        actual = with_ratios(replace(self.problem, current=self.plan), drifted)
        proposal = _proposal(actual, self.plan, drifted, migration, self.settings)
        if proposal is not None:
            self.last_proposal_seconds = now_seconds
        return proposal


def _proposal(
    problem: PlacementProblem,
    plan: Plan,
    drifted: Mapping[str, float],
    migration: MigrationCosts,
    settings: DriftSettings,
) -> Proposal | None:
    choice = choose_with(CostModel(problem))
    if _same(choice.plan, plan):
        return None
    gain = _gain(problem.objective, predict(problem, plan), choice.figures)
    moving = migration_seconds(problem.model.layers, plan, choice.plan, migration)
    if gain <= 0 or gain * settings.horizon_seconds <= settings.margin * moving:
        return None
    devices = ", ".join(f"{device} takes {ratio:.2f} times what was predicted" for device, ratio in drifted.items())
    reason = (
        f"{devices}; the new plan saves {gain:.0%} of the time, {gain * settings.horizon_seconds:.0f} s within"
        f" {settings.horizon_seconds:.0f} s, and moving takes {moving:.1f} s"
    )
    return Proposal(choice, gain, moving, reason)


def _gain(objective: Objective, now: Figures, then: Figures) -> float:
    return 1 - then.of(objective) / now.of(objective)


def _same(one: Plan, other: Plan) -> bool:
    return [_key(stage) for stage in one.stages] == [_key(stage) for stage in other.stages]


def _key(stage: Stage) -> tuple[str, str, str, int, int]:
    return stage.device.name, stage.engine, stage.precision, stage.first, stage.last


def migration_seconds(layers: Sequence[Layer], old: Plan, new: Plan, costs: MigrationCosts) -> float:
    """What moving from one plan to another takes: every stage that is not in the old plan is loaded and compiled.

    Stages load at the same time, so that the longest counts.
    """
    kept = {_key(stage) for stage in old.stages}
    moved = [stage for stage in new.stages if _key(stage) not in kept]
    return costs.restart_seconds + max((_loading_seconds(layers, stage, costs) for stage in moved), default=0.0)


def _loading_seconds(layers: Sequence[Layer], stage: Stage, costs: MigrationCosts) -> float:
    weights = sum(layer.weight_bytes for layer in layers[stage.first : stage.last])
    return weights / costs.bytes_per_second + stage.block_count * costs.compile_seconds_per_block


def with_ratios(problem: PlacementProblem, ratios: Mapping[str, float]) -> PlacementProblem:
    """The problem with every time of these devices multiplied: the profile as it would be measured now."""
    if problem.profile is None:
        raise PlacementError("drift needs a profile to be measured against; make one with `hetero profile`")
    segments = tuple(_scaled(time, ratios.get(time.device, 1.0)) for time in problem.profile.segments)
    profile: Profile = replace(problem.profile, segments=segments)
    return replace(problem, profile=profile)


def _scaled(time: SegmentTime, ratio: float) -> SegmentTime:
    return time if ratio == 1 else replace(time, seconds=tuple(ratio * seconds for seconds in time.seconds))
