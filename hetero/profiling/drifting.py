"""What the last run says of the plan: whether stages took longer than predicted, and whether another plan would pay.

Knows one run's seconds and the question for the placer; the decision is `placement.replan`'s. Moves nothing.
"""

from dataclasses import replace

from hetero.profiling.runs import RunReport
from placement import DriftMonitor, DriftSettings, PlacementProblem, PlanSyntaxError, format_plan, parse_plan
from placement.errors import PlacementError

#: A run is a whole request of many steps: one says enough.
_SETTINGS = replace(DriftSettings(), least_observations=1)


def drift_account(run: RunReport, problem: PlacementProblem) -> str:
    """In words, which devices drifted in the run, and the plan that would pay in their place; empty where none did.

    Empty, too, where the run was on devices or blocks that are not the problem's.
    """
    try:
        monitor = DriftMonitor(problem, parse_plan(run.plan, problem.devices, problem.model.block_count), _SETTINGS)
    except (PlanSyntaxError, PlacementError):
        return ""
    for stage, each in zip(monitor.plan.stages, run.stages, strict=False):
        if each.predicted_seconds and each.measured_seconds:
            monitor.observe(stage.device.name, each.measured_seconds, each.predicted_seconds)
    drifted = monitor.drifted()
    if not drifted:
        return ""
    proposal = _proposal(monitor)
    said = ", ".join(f"{device} took {ratio:.2f} times what was predicted" for device, ratio in drifted.items())
    if proposal is None:
        return f"in the last run {said}; no plan that is worth moving to is better for that"
    return f"in the last run {said}; moving to {proposal} would pay: --plan runs it, --profile measures again"


def _proposal(monitor: DriftMonitor) -> str | None:
    """None where nothing pays, or what ran may not run under the problem's constraints."""
    try:
        found = monitor.propose(0.0)
    except PlacementError:
        return None
    return f"{format_plan(found.choice.plan)} ({found.reason})" if found else None
