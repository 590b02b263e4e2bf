"""From the flags of `hetero plan` to its answer: a plan that was asked for, the placer's choice, or the simple rule.

Knows flags, the cache of profiles and the placer; prints nothing.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from hetero.automatic import asked_objective
from hetero.cli.devices import find_devices
from hetero.cli.plan_exits import Candidates, exit_candidates
from hetero.cli.plan_goal import make_goal
from hetero.cli.plan_question import Question
from hetero.cli.profile import measure, require_no_encrypted
from hetero.confinement import check_trusted, sees_everything
from hetero.exits.surviving import measured_survival
from hetero.models.config import ModelConfig
from hetero.models.config_reader import read_config
from hetero.models.source import resolve
from hetero.placing import Goal, make_problem, objective_of
from hetero.planning import plan_model
from hetero.profiling.cache import usable_profile
from hetero.profiling.drifting import drift_account
from hetero.profiling.fingerprint import fingerprint
from hetero.profiling.runs import RunReport, last_run
from placement import Choice, Device, Figures, LossPlan, Plan, Profile, choose, format_plan, pareto_choices, predict
from placement.constraints import Trust
from placement.errors import PlacementError
from placement.pareto import ParetoPlan
from placement.replan import plans_for_losses

if TYPE_CHECKING:
    from hetero.hybrid import Marks


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
    candidates: Candidates | None = None


@dataclass(frozen=True, slots=True)
class _Known:
    """What there is, and what was measured of it, or why nothing was."""

    devices: tuple[Device, ...]
    profile: Profile | None
    why: str
    run: RunReport | None


def answer(question: Question) -> Answer:
    """Measure first where that is asked for, then choose.

    Raises ModelError, ConfigurationError, PolicyError, or placement.PlacementError (InfeasibleError, ProfileError) with
    the reason.
    """
    folder = resolve(question.model)
    config = read_config(folder)
    goal, candidates = make_goal(question, config), exit_candidates(question, folder, config)
    measured = None if question.survival or candidates else measured_survival(folder, config)
    if measured is not None:
        goal = replace(goal, traffic=measured.applied(goal.traffic))
    found = _answered(question, _Model(folder, config, candidates), goal)
    if measured is None or found.figures is None:
        return found
    return replace(found, note="; ".join(filter(None, (found.note, measured.account(format_plan(found.plan))))))


def _answered(question: Question, model: _Model, goal: Goal) -> Answer:
    """The answer for a goal that counts on exits, where the model has calibrated ones."""
    folder = model.folder
    marks = _marks(question, folder)
    if question.measure_seconds is not None:
        _measure(question, question.measure_seconds, marks)
    devices = find_devices(question.settings.address)
    profile, why = _find_profile(question, model, devices)
    known = _Known(devices, profile, why, last_run(fingerprint(folder, devices), question.settings.cache))
    return _blocks(question, model, goal, known) if marks is None else _under(marks, question, model, goal, known)


def _blocks(question: Question, model: _Model, goal: Goal, known: _Known) -> Answer:
    """The answer for the model's blocks."""
    text = question.settings.plan
    if asked_objective(text) is None and text is not None:
        return replace(_asked(question, model, known.devices, goal, known.profile), last_run=known.run)
    if known.profile is None and question.is_plain:
        plan = _simple(question, model, _trusted(known.devices, goal, model.config), None)
        return Answer(replace(plan, reason=f"{plan.reason}; {known.why}"), note=known.why)
    problem = make_problem(model.folder, model.config, known.devices, known.profile, goal)
    note = "" if known.profile else f"{known.why}; every time here is a guess"
    if model.candidates is None:
        choice = choose(problem)
    else:
        problem, choice, said = model.candidates.choose(problem)
        note = "; ".join(filter(None, (note, said)))
    if known.run is not None and known.profile is not None:
        note = "; ".join(filter(None, (note, drift_account(known.run, problem))))
    pareto = pareto_choices(problem, objective_of(question.pareto)) if question.pareto else ()
    return Answer(choice.plan, choice.figures, choice, plans_for_losses(problem), known.run, note, pareto)


def _marks(question: Question, folder: Path) -> "Marks | None":
    """What the policy says, where one is named."""
    settings = question.settings
    if settings.policy is None:
        require_no_encrypted(settings)
        return None
    from hetero.hybrid import read_marks

    return read_marks(settings.policy, folder, settings.heads, settings.encrypted)


def _under(marks: "Marks", question: Question, model: _Model, goal: Goal, known: _Known) -> Answer:
    """The answer under a policy: its trust holds for the blocks, and the layers that it marks follow them."""
    from hetero.hybrid import plan_under

    found: list[Answer] = []

    def blocks(trust: Trust) -> Plan:
        allowed = replace(goal, constraints=replace(goal.constraints, trust=trust))
        found.append(_blocks(question, model, allowed, known))
        check_trusted(found[-1].plan, trust)
        return found[-1].plan

    plan = plan_under(marks, model.config, known.devices, known.profile, blocks)
    if found and found[-1].plan.stages == plan.stages:
        return replace(found[-1], plan=plan)
    return Answer(plan, note="" if known.profile else known.why)


def _trusted(devices: tuple[Device, ...], goal: Goal, config: ModelConfig) -> tuple[Device, ...]:
    """The devices that may hold the whole model; all where none may, of whose plan the check then says why not."""
    trust = goal.constraints.trust
    if trust is None:
        return devices
    return tuple(device for device in devices if sees_everything(device, trust, config.block_count)) or devices


def _measure(question: Question, seconds: float, marks: "Marks | None") -> None:
    from hetero.profiling.request import Wish

    precision = question.settings.precision
    precisions = (precision,) if precision else ()
    wish = Wish(
        precisions=precisions,
        split_cpu=question.split_cpu,
        budget_seconds=seconds,
        cache=question.settings.cache,
        encrypted=marks.layers if marks else (),
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
