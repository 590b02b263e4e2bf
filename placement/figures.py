"""What is predicted of a plan, stage by stage and hop by hop, with how far each figure may be off.

From cost tables to values that are shown; decides nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from placement.costs import CostModel
from placement.errors import PlacementError
from placement.evaluation import LaneStage, Values, evaluate, parts_of
from placement.memory import usable_bytes
from placement.problem import Objective, PlacementProblem, check_problem
from placement.profiles import HOST
from placement.steps import Step
from placement.types import Plan, Stage


@dataclass(frozen=True, slots=True)
class StageFigures:
    """One stage: seconds of a prompt and of one token of a request alone; `load_seconds` a request at full traffic.

    `usable_bytes` is what plans may fill of the device's memory. `measured` is False where any of it is a prior.
    """

    stage: Stage
    prompt_seconds: float
    token_seconds: float
    load_seconds: float
    memory_bytes: int
    usable_bytes: int
    relative_error: float
    measured: bool


@dataclass(frozen=True, slots=True)
class HopFigures:
    """One hop, the host's included: seconds of a prompt, of one token, and of a request at full traffic."""

    source: str
    target: str
    prompt_seconds: float
    token_seconds: float
    load_seconds: float


@dataclass(frozen=True, slots=True)
class Figures:
    """A whole plan. `energy_joules` is None where power is not known; `relative_error` is that of the times."""

    stages: tuple[StageFigures, ...]
    hops: tuple[HopFigures, ...]
    latency_seconds: float
    first_token_seconds: float
    token_seconds: float
    requests_per_second: float
    tokens_per_second: float
    energy_joules: float | None
    bottleneck: str
    relative_error: float

    @property
    def measured(self) -> bool:
        """Whether every stage's time comes from measurements."""
        return all(stage.measured for stage in self.stages)

    def of(self, objective: Objective) -> float:
        """The objective's figure as it is made small: seconds, seconds a request, or joules."""
        joules = float("inf") if self.energy_joules is None else self.energy_joules
        return {
            Objective.LATENCY: self.latency_seconds,
            Objective.FIRST_TOKEN: self.first_token_seconds,
            Objective.THROUGHPUT: 1 / self.requests_per_second,
            Objective.ENERGY: joules,
        }[objective]


def predict(problem: PlacementProblem, plan: Plan) -> Figures:
    """The figures of any plan, legal or not. Raises PlacementError where the plan or the problem cannot be."""
    asked = replace(problem, current=plan)
    check_problem(asked)
    costs = CostModel(asked)
    return figures_of(costs, lane_stages(costs, plan))


def lane_stages(costs: CostModel, plan: Plan) -> tuple[LaneStage, ...]:
    """A plan's stages by number of lane. Raises PlacementError for a stage that no lane is for."""
    keys = {(costs.devices[lane.device].name, lane.engine, lane.precision): i for i, lane in enumerate(costs.lanes)}
    found = []
    for stage in plan.stages:
        key = (stage.device.name, stage.engine, stage.precision)
        if key not in keys or stage.last > costs.block_count:
            raise PlacementError(f"the plan's stage {'/'.join(key)}:{stage.first}-{stage.last} is none of this problem")
        found.append(LaneStage(keys[key], stage.first, stage.last))
    return tuple(found)


def plan_of(costs: CostModel, stages: Sequence[LaneStage], reason: str) -> Plan:
    """The plan that lane stages mean, each with the seconds of one step: of one token, or of one text."""
    seconds = parts_of(costs, costs.token, stages).stages
    made = tuple(
        Stage(costs.device_of(s.lane), costs.lanes[s.lane].engine, s.first, s.last, costs.lanes[s.lane].precision, t)
        for s, t in zip(stages, seconds, strict=True)
    )
    return Plan(made, reason)


def figures_of(costs: CostModel, stages: Sequence[LaneStage]) -> Figures:
    """All that is predicted of the stages."""
    values = evaluate(costs, stages)
    prompt, token = parts_of(costs, costs.first_token, stages), parts_of(costs, costs.token, stages)
    plan = plan_of(costs, stages, "")
    errors = [_relative_error(costs, stage) for stage in stages]
    per_stage = tuple(
        StageFigures(
            plan.stages[k],
            prompt.stages[k],
            token.stages[k],
            values.load.stages[k],
            round(float(costs.memory_bytes[stage.lane, stage.first, stage.last])),
            round(usable_bytes(costs.device_of(stage.lane))),
            errors[k],
            _is_measured(costs, stage),
        )
        for k, stage in enumerate(stages)
    )
    names = [HOST, *(stage.device.name for stage in plan.stages), HOST]
    hops = tuple(
        HopFigures(names[k], names[k + 1], prompt.links[k], token.links[k], values.load.links[k])
        for k in range(len(stages) + 1)
    )
    return _whole(costs, values, per_stage, hops, token.total)


def _whole(
    costs: CostModel,
    values: Values,
    stages: tuple[StageFigures, ...],
    hops: tuple[HopFigures, ...],
    token_seconds: float,
) -> Figures:
    requests = 1 / values.seconds_per_request if values.seconds_per_request else float("inf")
    tokens = costs.problem.traffic.prompt_tokens if costs.model.encoder else costs.problem.traffic.output_tokens
    return Figures(
        stages,
        hops,
        values.latency_seconds,
        values.first_token_seconds,
        token_seconds,
        requests,
        requests * tokens,
        values.energy_joules if costs.problem.power else None,
        _bottleneck(stages, hops, values),
        _combined_error(costs, stages, hops),
    )


def _steps(costs: CostModel) -> tuple[Step, ...]:
    return (*costs.prompt_steps, *costs.decode_steps)


def _relative_error(costs: CostModel, stage: LaneStage) -> float:
    return max(costs.times[stage.lane].parts(step).relative_error for step in _steps(costs))


def _is_measured(costs: CostModel, stage: LaneStage) -> bool:
    return all(costs.times[stage.lane].parts(step).measured for step in _steps(costs))


def _bottleneck(stages: Sequence[StageFigures], hops: Sequence[HopFigures], values: Values) -> str:
    """The stage or link of the largest load, or the requests in flight where they are too few to fill the pipeline."""
    loads = {f"{s.stage.device.name} ({s.stage.first}-{s.stage.last})": s.load_seconds for s in stages}
    loads |= {f"{hop.source} -> {hop.target}": hop.load_seconds for hop in hops}
    largest = max(loads, key=lambda name: loads[name])
    if values.seconds_per_request > loads[largest] * (1 + 1e-9):
        return f"the requests in flight; the largest load is {largest}"
    return largest


def _combined_error(costs: CostModel, stages: Sequence[StageFigures], hops: Sequence[HopFigures]) -> float:
    """Errors weighted by seconds: they may all be off in one direction."""
    index = {device.name: i for i, device in enumerate(costs.devices)} | {HOST: len(costs.devices)}
    weighted = [(s.load_seconds, s.relative_error) for s in stages]
    weighted += [(h.load_seconds, float(costs.links.relative_error[index[h.source], index[h.target]])) for h in hops]
    total = sum(seconds for seconds, _ in weighted)
    return sum(seconds * error for seconds, error in weighted) / total if total else 0.0
