"""What a run took, stage by stage, against what its profile predicts; the last one is kept for `hetero plan`.

Knows counts of an engine and a profile; decides nothing (`placement.replan` does).
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from hetero.models.config import DecoderConfig, ModelConfig
from hetero.placing import Goal, make_problem
from hetero.profiling.cache import profile_path, usable_profile
from hetero.profiling.fingerprint import fingerprint
from placement import PlacementError, format_plan, format_stage
from placement.constraints import Constraints
from placement.figures import Figures, predict
from placement.problem import Traffic
from placement.profiles import Fingerprint, Profile
from placement.types import Device, Plan


@dataclass(frozen=True, slots=True)
class StageRun:
    """One stage's compute over a whole run; `predicted_seconds` is None where nothing was measured before."""

    stage: str
    predicted_seconds: float | None
    measured_seconds: float


@dataclass(frozen=True, slots=True)
class RunReport:
    """One request on a plan: its tokens, and what each stage computed for it."""

    plan: str
    prompt_tokens: int
    output_tokens: int
    stages: tuple[StageRun, ...]


def report_run(
    folder: Path,
    config: ModelConfig,
    devices: Sequence[Device],
    plan: Plan,
    traffic: Traffic,
    stage_seconds: Sequence[float],
    cache: Path | None = None,
) -> RunReport:
    """Hold the stages' seconds of one request against the profile in the cache, and keep the report beside it."""
    expected = fingerprint(folder, devices)
    profile, _ = usable_profile(expected, cache)
    predicted = _predict(folder, config, devices, plan, traffic, profile) if profile else None
    each = _stage_seconds(predicted, config, traffic) if predicted else [None] * len(plan.stages)
    stages = zip(map(format_stage, plan.stages), each, stage_seconds, strict=True)
    report = RunReport(
        format_plan(plan), traffic.prompt_tokens, traffic.output_tokens, tuple(StageRun(*stage) for stage in stages)
    )
    if predicted:
        _save(report, run_path(expected, cache))
    return report


def _predict(
    folder: Path, config: ModelConfig, devices: Sequence[Device], plan: Plan, traffic: Traffic, profile: Profile
) -> Figures | None:
    """None where the plan has a stage of which nothing was measured."""
    used = frozenset(stage.precision for stage in plan.stages)
    goal = Goal(traffic=traffic, constraints=Constraints(precisions=used, allow_emulated=True), cores="all")
    try:
        figures = predict(make_problem(folder, config, devices, profile, goal), plan)
    except PlacementError:
        return None
    return figures if figures.measured else None


def _stage_seconds(figures: Figures, config: ModelConfig, traffic: Traffic) -> list[float]:
    """A whole request's compute on each stage: its prompt, and every token after the first."""
    more = traffic.output_tokens - 1 if isinstance(config, DecoderConfig) else 0
    return [stage.prompt_seconds + more * stage.token_seconds for stage in figures.stages]


def run_path(expected: Fingerprint, cache: Path | None = None) -> Path:
    """Where the last run of this model on this machine is kept."""
    path = profile_path(expected, cache)
    return path.parent.with_name("runs") / path.name


def _save(report: RunReport, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(asdict(report), indent=1), encoding="utf-8")


def last_run(expected: Fingerprint, cache: Path | None = None) -> RunReport | None:
    """The last run that was held against the profile; None where there is none, or its file is of another form."""
    try:
        document: dict[str, Any] = json.loads(run_path(expected, cache).read_text(encoding="utf-8"))
        stages = tuple(StageRun(**stage) for stage in document.pop("stages"))
        return RunReport(**document, stages=stages)
    except (OSError, ValueError, TypeError, KeyError):
        return None
