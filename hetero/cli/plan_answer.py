"""From the flags of `hetero plan` to its answer: a plan that was asked for, the placer's choice, or the simple rule.

Knows flags, the cache of profiles and the placer; prints nothing.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from hetero.automatic import asked_objective
from hetero.cli.devices import find_devices
from hetero.cli.profile import measure
from hetero.config import Settings
from hetero.errors import ConfigurationError
from hetero.models.config import DecoderConfig, ModelConfig
from hetero.models.config_reader import read_config
from hetero.models.source import resolve
from hetero.placing import Goal, make_problem, objective_of, usual_traffic
from hetero.planning import plan_model
from hetero.profiling.cache import usable_profile
from hetero.profiling.fingerprint import fingerprint
from hetero.profiling.runs import RunReport, last_run
from placement import Choice, Constraints, Device, Figures, LossPlan, Plan, Profile, Traffic, choose, predict
from placement.errors import PlacementError
from placement.plans import parse_pins
from placement.problem import Objective
from placement.replan import plans_for_losses


@dataclass(frozen=True, slots=True)
class Question:
    """The flags of `hetero plan`; `measure_seconds` is None where nothing is to be measured first."""

    model: str
    settings: Settings
    objective: str = "latency"
    prompt_tokens: int | None = None
    output_tokens: int | None = None
    concurrency: int = 1
    pins: tuple[str, ...] = ()
    excluded: tuple[str, ...] = ()
    split_cpu: bool = False
    measure_seconds: float | None = None
    profile_file: Path | None = None

    @property
    def is_plain(self) -> bool:
        """Whether nothing was asked that the simple rule does not know."""
        return self.objective == "latency" and not (self.pins or self.excluded or self.split_cpu)


@dataclass(frozen=True, slots=True)
class Answer:
    """A plan, its figures where they are known, the choice that led to it, and what a loss of each device would mean.

    `note` says what the answer does not stand on.
    """

    plan: Plan
    figures: Figures | None = None
    choice: Choice | None = None
    losses: Mapping[str, LossPlan] = field(default_factory=dict)
    last_run: RunReport | None = None
    note: str = ""


@dataclass(frozen=True, slots=True)
class _Model:
    folder: Path
    config: ModelConfig


def answer(question: Question) -> Answer:
    """Measure first where that is asked for, then choose.

    Raises ModelError, ConfigurationError, or placement.PlacementError (InfeasibleError, ProfileError) with the reason.
    """
    folder = resolve(question.model)
    model = _Model(folder, read_config(folder))
    goal = make_goal(question, model.config)
    if question.measure_seconds is not None:
        _measure(question, question.measure_seconds)
    devices = find_devices(question.settings.address)
    profile, why = _find_profile(question, model, devices)
    run = last_run(fingerprint(folder, devices), question.settings.cache)
    text = question.settings.plan
    if asked_objective(text) is None and text is not None:
        return replace(_asked(question, model, devices, goal, profile), last_run=run)
    if profile is None and question.is_plain:
        plan = _simple(question, model, devices, None)
        return Answer(replace(plan, reason=f"{plan.reason}; {why}"), note=why)
    problem = make_problem(folder, model.config, devices, profile, goal)
    choice = choose(problem)
    note = "" if profile else f"{why}; every time here is a guess"
    return Answer(choice.plan, choice.figures, choice, plans_for_losses(problem), run, note)


def make_goal(question: Question, config: ModelConfig) -> Goal:
    """What the flags ask of the placer. Raises ConfigurationError or placement.PlanSyntaxError."""
    precision = question.settings.precision
    constraints = Constraints(
        pins=tuple(pin for text in question.pins for pin in parse_pins(text)),
        excluded=frozenset(question.excluded),
        precisions=frozenset({precision}) if precision else None,
    )
    objective = objective_of(question.objective)
    if objective is Objective.LATENCY:
        objective = asked_objective(question.settings.plan) or objective
    return Goal(objective, _traffic(question, config), constraints, "all" if question.split_cpu else "measured")


def _traffic(question: Question, config: ModelConfig) -> Traffic:
    """Requests as the flags say, usual ones else. Raises ConfigurationError where they do not fit the context."""
    context = min(question.settings.context or config.max_context, config.max_context)
    usual = usual_traffic(context, question.concurrency, question.settings.max_batch_tokens)
    asked = replace(
        usual,
        prompt_tokens=question.prompt_tokens or usual.prompt_tokens,
        output_tokens=question.output_tokens or usual.output_tokens,
    )
    longest = asked.longest_tokens if isinstance(config, DecoderConfig) else asked.prompt_tokens
    if longest > context:
        raise ConfigurationError(
            f"requests of {longest} tokens do not fit the context of {context} tokens;"
            " give fewer --prompt-tokens or --output-tokens"
        )
    return replace(asked, context_tokens=question.settings.context)


def _measure(question: Question, seconds: float) -> None:
    from hetero.profiling.request import Wish

    precision = question.settings.precision
    precisions = (precision,) if precision else ()
    wish = Wish(
        precisions=precisions,
        split_cpu=question.split_cpu,
        budget_seconds=seconds,
        cache=question.settings.cache,
    )
    measure(question.model, question.settings, wish)


def _find_profile(question: Question, model: _Model, devices: Sequence[Device]) -> tuple[Profile | None, str]:
    """The profile, or why there is none. Raises ProfileError for a named file of another model or machine."""
    expected = fingerprint(model.folder, devices)
    if question.profile_file is not None:
        return Profile.load(question.profile_file).require(expected), ""
    return usable_profile(expected, question.settings.cache)


def _asked(question: Question, model: _Model, devices: Sequence[Device], goal: Goal, profile: Profile | None) -> Answer:
    """The plan that was written, with figures where all of its stages were measured."""
    plan = _simple(question, model, devices, question.settings.plan)
    if profile is None:
        return Answer(plan)
    allowed = replace(goal.constraints, precisions=frozenset(stage.precision for stage in plan.stages))
    asked = replace(goal, constraints=allowed, cores="all")
    try:
        figures = predict(make_problem(model.folder, model.config, devices, profile, asked), plan)
    except PlacementError as error:
        return Answer(plan, note=f"its times are not known: {error}")
    return Answer(plan, figures)


def _simple(question: Question, model: _Model, devices: Sequence[Device], text: str | None) -> Plan:
    settings = question.settings
    kv_tokens = settings.context or model.config.max_context
    return plan_model(model.folder, model.config, devices, text, precision=settings.precision, kv_tokens=kv_tokens)
