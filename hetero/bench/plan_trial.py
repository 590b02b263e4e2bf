"""The whole comparison of predicted and measured plans: a profile, the plans, the placer's choice, the figures.

Knows in which order these come; each is another file's work.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from hetero.bench.plan_errors import Accuracy, accuracy
from hetero.bench.plan_list import list_plans, measured_options, only_options
from hetero.bench.plan_rounds import load_rounds, save_rounds
from hetero.bench.plans import Measured, measure_round, request_pair, stage_pairs
from hetero.cluster import Cluster, discover
from hetero.errors import ConfigurationError
from hetero.limits import choose_context
from hetero.models.config import DecoderConfig, ModelConfig
from hetero.models.config_reader import read_config
from hetero.placing import model_shape, profile_of
from hetero.profiling.cache import usable_profile
from hetero.profiling.findings import Findings, findings_of
from hetero.profiling.fingerprint import fingerprint
from hetero.profiling.measuring import Subject, measure_all
from hetero.profiling.options import Option, list_options
from hetero.profiling.request import Wish, choose_devices, keep
from placement import Plan, format_plan
from placement.choose import choose
from placement.costs import CostModel
from placement.figures import figures_of, lane_stages
from placement.problem import PlacementProblem, Traffic
from placement.profiles import Profile
from placement.types import Device

#: Called with what is done, the whole, and what is done now.
Tell = Callable[[int, int, str], None]


@dataclass(frozen=True, slots=True)
class PlanTrial:
    """What to compare: the profile to measure, the requests, how many plans, and how often each is measured.

    Rounds in `rounds_file` count too, and those that are measured now are added to it. With `cached_profile` the
    profile is that of the cache, which `hetero profile` measured before.
    """

    wish: Wish
    traffic: Traffic
    count: int
    rounds: int
    requests: int
    rounds_file: Path | None = None
    cached_profile: bool = False


@dataclass(frozen=True, slots=True)
class PlanRow:
    """One plan's request alone, predicted and measured; `stage_errors` are relative, the prompt's stages first."""

    plan: str
    predicted_seconds: float
    measured_seconds: float
    first_token_seconds: float
    stage_errors: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class PlanTrialReport:
    """All rows, the plan that the placer chose among all measured options, and the figures."""

    rows: tuple[PlanRow, ...]
    chosen: str
    accuracy: Accuracy
    stage_count: int
    rides_per_plan: int
    left_out: tuple[str, ...]


def run_trial(cluster: Cluster, folder: Path, trial: PlanTrial, tell: Tell) -> PlanTrialReport:
    """Measure a profile and plans on `cluster`.

    Raises ConfigurationError where too little could be measured for a plan, or as measuring does.
    """
    config = read_config(folder)
    _check_traffic(config, trial.traffic)
    tell(0, 0, "looking for devices")
    found = discover(cluster)
    return _Trial(Subject(folder, config, choose_context(None, config.max_context)), trial, found, tell).run()


class _Trial:
    """One comparison while it goes on.

    Passes over the profile and over the plans take turns, plans forwards and backwards: a machine whose speed drifts
    from minute to minute treats both alike.
    """

    def __init__(self, subject: Subject, trial: PlanTrial, found: Sequence[Device], tell: Tell) -> None:
        self._subject, self._trial, self._tell = subject, trial, tell
        self._expected = fingerprint(subject.folder, found)
        self._options = _options(found, trial.wish)
        self._findings, self._measured = Findings(), list[Measured]()
        if trial.rounds_file is not None:
            devices = tuple(dict.fromkeys(option.device for option in self._options))
            self._findings, self._measured = load_rounds(trial.rounds_file, self._expected, trial.traffic, devices)

    def run(self) -> PlanTrialReport:
        for number in range(self._trial.rounds):
            self._profile()
            if not self._measured:
                self._measured = [Measured(plan) for plan in self._list_plans()]
            self._measure(self._measured if number % 2 == 0 else self._measured[::-1])
            self._keep()
        problem = self._problem()
        chosen = self._measure_choice(choose(problem).plan)
        self._keep()
        if not self._trial.cached_profile:
            keep(self._findings, self._expected, self._subject.config, self._trial.wish.cache)
        return _report(CostModel(problem), self._measured, chosen, tuple(self._findings.left_out))

    def _profile(self) -> None:
        if self._trial.cached_profile:
            self._read_profile()
        else:
            self._measure_profile()
        self._options = measured_options(self._options, self._so_far())
        if not self._options:
            raise ConfigurationError("too little was measured for a plan; give more --budget-seconds")

    def _read_profile(self) -> None:
        known, why = usable_profile(self._expected, self._trial.wish.cache)
        if known is None:
            raise ConfigurationError(f"there is no profile to compare with: {why}")
        self._findings = findings_of(known)

    def _measure_profile(self) -> None:
        seconds = self._trial.wish.budget_seconds / self._trial.rounds
        found = measure_all(self._subject, self._options, seconds, self._tell, contention=False)
        self._findings.left_out = list(dict.fromkeys([*self._findings.left_out, *found.left_out]))
        self._findings.pool(found)
        self._options = measured_options(self._options, self._so_far())
        if not self._options:
            raise ConfigurationError("too little was measured for a plan; give more --budget-seconds")

    def _keep(self) -> None:
        if self._trial.rounds_file is not None:
            save_rounds(self._trial.rounds_file, self._so_far(), self._trial.traffic, self._measured)

    def _so_far(self) -> Profile:
        return self._findings.over(None, self._expected, self._subject.config.block_count)

    def _list_plans(self) -> tuple[Plan, ...]:
        return list_plans(self._options, self._subject.config.block_count, self._trial.count)

    def _measure(self, plans: Sequence[Measured]) -> None:
        subject, trial = self._subject, self._trial
        measure_round(subject.folder, subject.config, plans, trial.traffic, trial.requests, self._told)

    def _told(self, done: int, whole: int, plan: Plan) -> None:
        self._tell(done, whole, format_plan(plan))

    def _problem(self) -> PlacementProblem:
        """All measured options, at any precision that was measured."""
        devices = tuple(dict.fromkeys(option.device for option in self._options))
        shape = model_shape(self._subject.folder, self._subject.config)
        profile = only_options(profile_of(self._so_far(), devices), self._options)
        return PlacementProblem(shape, devices, profile, self._trial.traffic)

    def _measure_choice(self, chosen: Plan) -> Plan:
        """The placer's choice is measured as often as the others, if it is none of them."""
        if format_plan(chosen) not in {format_plan(each.plan) for each in self._measured}:
            self._measured.append(Measured(chosen))
            for _ in range(self._trial.rounds):
                self._measure(self._measured[-1:])
        return chosen


def _options(found: Sequence[Device], wish: Wish) -> tuple[Option, ...]:
    """Those that are wished for; emulated devices only where they are named."""
    devices = choose_devices(found, wish.devices, wish.split_cpu)
    real = [device for device in devices if not device.emulated or device.name in wish.devices]
    return list_options(real, wish.engines, wish.precisions)


def _check_traffic(config: ModelConfig, traffic: Traffic) -> None:
    longest = traffic.longest_tokens if isinstance(config, DecoderConfig) else traffic.prompt_tokens
    if longest > config.max_context:
        raise ConfigurationError(
            f"requests of {longest} tokens do not fit the model's context of {config.max_context} tokens;"
            " give fewer --prompt-tokens or --output-tokens"
        )


def _report(costs: CostModel, measured: Sequence[Measured], chosen: Plan, left_out: tuple[str, ...]) -> PlanTrialReport:
    predictions = [figures_of(costs, lane_stages(costs, each.plan)) for each in measured]
    pairs = [(request_pair(*both), stage_pairs(*both)) for both in zip(predictions, measured, strict=True)]
    rows = tuple(
        PlanRow(
            format_plan(each.plan),
            request.predicted_seconds,
            request.measured_seconds,
            each.first_token_seconds,
            tuple(stage.error for stage in stages),
        )
        for each, (request, stages) in zip(measured, pairs, strict=True)
    )
    stages = [stage for _, of in pairs for stage in of]
    place = [row.plan for row in rows].index(format_plan(chosen))
    figures = accuracy(stages, [request for request, _ in pairs], place)
    return PlanTrialReport(
        rows, format_plan(chosen), figures, len(stages), min(len(each.rides) for each in measured), left_out
    )
