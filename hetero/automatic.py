"""The plan that is chosen by what was measured: `auto`, or `auto:throughput` and the like where a plan is asked for.

Knows the cache of profiles and the placer; the plan of several stages is only proposed here, `probe.py` tries it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from hetero.models.config import ModelConfig
from hetero.placing import Goal, make_problem, objective_of
from hetero.profiling.cache import usable_profile
from hetero.profiling.fingerprint import fingerprint
from placement.choose import Choice, choose
from placement.problem import Objective
from placement.types import Device, Plan

AUTO = "auto"


@dataclass(frozen=True, slots=True)
class Proposal:
    """A plan, and the best single device that it must beat where it has several stages and one device could do."""

    plan: Plan
    rival: Plan | None = None
    goal: Goal = field(default_factory=Goal)


def asked_objective(text: str | None) -> Objective | None:
    """The objective of ``auto`` (latency) or ``auto:OBJECTIVE``; None where the text is a plan's, or there is none.

    Raises ConfigurationError for an objective that there is not.
    """
    word, colon, objective = (text or "").partition(":")
    if word != AUTO:
        return None
    return objective_of(objective) if colon else Objective.LATENCY


def propose(
    folder: Path, config: ModelConfig, devices: Sequence[Device], goal: Goal, simple: Plan, cache: Path | None = None
) -> Proposal:
    """The best plan for `goal` by the profile in the cache; without a profile `simple`, and the reason why.

    Raises placement.InfeasibleError where no plan is legal.
    """
    profile, why = usable_profile(fingerprint(folder, devices), cache)
    if profile is None:
        return Proposal(replace(simple, reason=f"{simple.reason}; {why}"), goal=goal)
    choice = choose(make_problem(folder, config, devices, profile, goal))
    return Proposal(choice.plan, best_single(choice) if len(choice.plan.stages) > 1 else None, goal)


def best_single(choice: Choice) -> Plan | None:
    """The best plan of one stage that is legal, None where no single device holds the model."""
    singles = (each.plan for each in choice.alternatives if each.refusal is None and len(each.plan.stages) == 1)
    return next(singles, None)
