"""From the flags of `hetero plan` to its answer: a plan that was asked for, the placer's choice, or the simple rule.

Knows flags, the cache of profiles and the placer; prints nothing.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from hetero.automatic import asked_objective
from hetero.cli.devices import find_devices
from hetero.cli.plan_goal import make_goal
from hetero.cli.plan_question import Question
from hetero.cli.profile import measure
from hetero.models.config import ModelConfig
from hetero.models.config_reader import read_config
from hetero.models.source import resolve
from hetero.placing import Goal, make_problem, objective_of
from hetero.planning import plan_model
from hetero.profiling.cache import usable_profile
from hetero.profiling.fingerprint import fingerprint
from hetero.profiling.runs import RunReport, last_run
from placement import Choice, Device, Figures, LossPlan, Plan, Profile, choose, pareto_choices, predict
from placement.errors import PlacementError
from placement.pareto import ParetoPlan
from placement.replan import plans_for_losses


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
    pareto: tuple[ParetoPlan, ...] = ()


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
    pareto = pareto_choices(problem, objective_of(question.pareto)) if question.pareto else ()
    note = "" if profile else f"{why}; every time here is a guess"
    return Answer(choice.plan, choice.figures, choice, plans_for_losses(problem), run, note, pareto)


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
