"""A choice in words and as a document: stages, times and memory, what binds, what else there was, what was refused.

Plain text without colours; pictures are `drawing.py`'s.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from placement.choose import Alternative, Choice
from placement.constraints import PlacementRefusal
from placement.figures import Figures
from placement.pareto import ParetoPlan
from placement.plans import format_plan
from placement.problem import Objective
from placement.wording import amount, duration, size, table


@dataclass(frozen=True, slots=True)
class MeasuredRun:
    """What a run of the plan took: seconds of one step by stage, of a whole token, and to the first token."""

    stage_seconds: tuple[float, ...] = ()
    token_seconds: float | None = None
    first_token_seconds: float | None = None


def choice_text(choice: Choice) -> str:
    """All of a choice, as paragraphs of plain text."""
    parts = [
        format_plan(choice.plan),
        choice.plan.reason,
        stages_text(choice.figures),
        totals_text(choice.figures),
        f"What binds: {choice.figures.bottleneck}." + "".join(f"\n  {each.sentence}" for each in choice.bindings),
        alternatives_text(choice),
    ]
    if choice.gap > 1e-6:
        parts.append(f"The search was cut short: a plan up to {choice.gap:.1%} better may exist.")
    if choice.refusals:
        parts.append("Refused:\n" + "\n".join(f"  {each.reason}: {each.sentence}" for each in choice.refusals))
    return "\n\n".join(parts)


def stages_text(figures: Figures) -> str:
    """A row a stage and a hop. Times marked with ~ are guesses from a roofline."""
    rows: list[tuple[str, ...]] = [("stage", "blocks", "prompt", "token", "busy a request", "memory", "of", "±")]
    for k, hop in enumerate(figures.hops):
        name = f"{hop.source} -> {hop.target}"
        rows.append((name, "", *map(duration, (hop.prompt_seconds, hop.token_seconds, hop.load_seconds)), "", "", ""))
        for each in figures.stages[k : k + 1]:
            guess = "" if each.measured else "~"
            stage = f"{each.stage.device.name}/{each.stage.engine}@{each.stage.precision}"
            times = (guess + duration(t) for t in (each.prompt_seconds, each.token_seconds, each.load_seconds))
            memory = (size(each.memory_bytes), size(each.usable_bytes), f"{each.relative_error:.0%}")
            rows.append((stage, f"{each.stage.first}-{each.stage.last}", *times, *memory))
    return table(rows, right=(2, 3, 4, 5, 6, 7))


def totals_text(figures: Figures) -> str:
    """The figures of the whole plan in one paragraph."""
    parts = [
        f"first token {duration(figures.first_token_seconds)}",
        f"then {duration(figures.token_seconds)} a token",
        f"a request {duration(figures.latency_seconds)}",
        f"at full traffic {figures.requests_per_second:.3g} requests/s, {figures.tokens_per_second:.4g} tokens/s",
    ]
    if figures.energy_joules is not None and math.isfinite(figures.energy_joules):
        parts.append(f"{figures.energy_joules:.3g} J a request")
    known = "" if figures.measured else "; some times are guesses, nothing was measured there"
    return "Predicted: " + ", ".join(parts) + f" (each within {figures.relative_error:.0%}{known})."


def alternatives_text(choice: Choice) -> str:
    """Every plan that was scored, the best first, with what it loses against the best."""
    best = choice.alternatives[0].figures.of(choice.objective)
    rows = [("alternative", str(choice.objective), "worse by", "plan, or why not")]
    for each in choice.alternatives:
        value = each.figures.of(choice.objective)
        chosen = "*" if _key(each) == [(s.stage.device.name, s.stage.first) for s in choice.figures.stages] else " "
        loss = f"{value / best - 1:+.1%}" if best and math.isfinite(value) and each.refusal is None else ""
        said = format_plan(each.plan) if each.refusal is None else f"{each.refusal.reason}: {each.refusal.sentence}"
        rows.append((f"{chosen} {each.name}", amount(choice.objective, value), loss, said))
    return table(rows, right=(1, 2))


def _key(alternative: Alternative) -> list[tuple[str, int]]:
    return [(stage.device.name, stage.first) for stage in alternative.plan.stages]


def pareto_text(plans: Sequence[ParetoPlan]) -> str:
    """A row a plan: what it comes to by each objective."""
    rows = [("a request", "first token", "requests/s", "energy", "plan")]
    for each in plans:
        joules = each.figures.energy_joules
        rows.append(
            (
                duration(each.figures.latency_seconds),
                duration(each.figures.first_token_seconds),
                f"{each.figures.requests_per_second:.3g}",
                "" if joules is None or not math.isfinite(joules) else f"{joules:.3g} J",
                format_plan(each.plan),
            )
        )
    return table(rows, right=(0, 1, 2, 3))


def measured_text(figures: Figures, run: MeasuredRun) -> str:
    """Predicted against measured, a row a stage and one each for the token and the first token."""
    rows = [("", "predicted", "measured", "off by")]
    for each, seconds in zip(figures.stages, run.stage_seconds, strict=False):
        rows.append(
            _compared(f"{each.stage.device.name}:{each.stage.first}-{each.stage.last}", each.token_seconds, seconds)
        )
    if run.token_seconds is not None:
        rows.append(_compared("a token", figures.token_seconds, run.token_seconds))
    if run.first_token_seconds is not None:
        rows.append(_compared("first token", figures.first_token_seconds, run.first_token_seconds))
    return table(rows, right=(1, 2, 3))


def _compared(name: str, predicted: float, measured: float) -> tuple[str, str, str, str]:
    return name, duration(predicted), duration(measured), f"{predicted / measured - 1:+.1%}"


def choice_document(choice: Choice) -> dict[str, Any]:
    """A choice for machines: nothing but text, numbers (null where there is none), lists and objects."""
    return {
        "objective": str(choice.objective),
        "plan": format_plan(choice.plan),
        "reason": choice.plan.reason,
        "figures": figures_document(choice.figures),
        "bindings": [
            {"reason": str(b.reason), "value": _number(b.value), "sentence": b.sentence} for b in choice.bindings
        ],
        "alternatives": [_alternative(each, choice.objective) for each in choice.alternatives],
        "refusals": [_refusal(each) for each in choice.refusals],
        "relative_error": choice.relative_error,
        "gap": choice.gap,
        "seconds": choice.seconds,
    }


def figures_document(figures: Figures) -> dict[str, Any]:
    """Everything that is predicted of a plan."""
    return {
        "latency_seconds": _number(figures.latency_seconds),
        "first_token_seconds": _number(figures.first_token_seconds),
        "token_seconds": _number(figures.token_seconds),
        "requests_per_second": _number(figures.requests_per_second),
        "tokens_per_second": _number(figures.tokens_per_second),
        "energy_joules": _number(figures.energy_joules),
        "bottleneck": figures.bottleneck,
        "relative_error": figures.relative_error,
        "measured": figures.measured,
        "stages": [
            {
                "device": each.stage.device.name,
                "engine": each.stage.engine,
                "precision": each.stage.precision,
                "first": each.stage.first,
                "last": each.stage.last,
                "prompt_seconds": _number(each.prompt_seconds),
                "token_seconds": _number(each.token_seconds),
                "load_seconds": _number(each.load_seconds),
                "memory_bytes": each.memory_bytes,
                "usable_bytes": each.usable_bytes,
                "relative_error": each.relative_error,
                "measured": each.measured,
            }
            for each in figures.stages
        ],
        "hops": [
            {
                "source": hop.source,
                "target": hop.target,
                "prompt_seconds": _number(hop.prompt_seconds),
                "token_seconds": _number(hop.token_seconds),
                "load_seconds": _number(hop.load_seconds),
            }
            for hop in figures.hops
        ],
    }


def _alternative(alternative: Alternative, objective: Objective) -> dict[str, Any]:
    return {
        "name": alternative.name,
        "plan": format_plan(alternative.plan),
        "value": _number(alternative.figures.of(objective)),
        "latency_seconds": _number(alternative.figures.latency_seconds),
        "requests_per_second": _number(alternative.figures.requests_per_second),
        "refusal": None if alternative.refusal is None else _refusal(alternative.refusal),
    }


def _refusal(refusal: PlacementRefusal) -> dict[str, Any]:
    return {
        "reason": str(refusal.reason),
        "sentence": refusal.sentence,
        "device": refusal.device,
        "engine": refusal.engine,
        "precision": refusal.precision,
        "first": refusal.first,
        "last": refusal.last,
    }


def _number(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
