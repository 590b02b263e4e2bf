"""The answer of `hetero plan` for people, for machines, and as a picture. Knows the promised shape of its document."""

from dataclasses import asdict
from pathlib import Path

from rich.markup import escape
from rich.table import Table

from hetero.cli.describe import encrypted_document, plan_document, plan_table
from hetero.cli.output import out, table
from hetero.cli.plan_answer import Answer
from hetero.errors import ConfigurationError
from hetero.profiling.runs import RunReport
from placement import LossPlan, choice_document, choice_text, draw_svg, draw_text, figures_document, format_plan
from placement.explain import pareto_text


def answer_document(answer: Answer) -> dict[str, object]:
    """One document: the plan, its stages, and what is known of it."""
    document: dict[str, object] = {
        "plan": format_plan(answer.plan),
        "reason": answer.plan.reason,
        "stages": plan_document(answer.plan),
    }
    if answer.plan.encrypted:
        document["encrypted"] = [encrypted_document(stage) for stage in answer.plan.encrypted]
    if answer.figures:
        document["figures"] = figures_document(answer.figures)
    if answer.choice:
        document |= choice_document(answer.choice)
        document["losses"] = {name: _loss(loss) for name, loss in answer.losses.items()}
    if answer.pareto:
        document["pareto"] = [
            {"plan": format_plan(each.plan), "figures": figures_document(each.figures)} for each in answer.pareto
        ]
    if answer.last_run:
        document["last_run"] = asdict(answer.last_run)
    if answer.note:
        document["note"] = answer.note
    return document


def _loss(loss: LossPlan) -> dict[str, str | None]:
    return {"plan": format_plan(loss.choice.plan) if loss.choice else None, "refusal": loss.refusal or None}


def show_answer(answer: Answer) -> None:
    """Tables, a drawing, and the reasons."""
    if answer.choice is None:
        out().print(plan_table(answer.plan))
        out().print(f"\n{format_plan(answer.plan)}\n{answer.plan.reason}", markup=False)
    else:
        out().print(choice_text(answer.choice), markup=False, soft_wrap=True)
        if answer.plan.encrypted:
            out().print(plan_table(answer.plan))
    if answer.figures:
        out().print(f"\n{draw_text(answer.figures)}", markup=False, soft_wrap=True)
    for name in dict.fromkeys(stage.device.name for stage in answer.plan.stages):
        if loss := answer.losses.get(name):
            said = format_plan(loss.choice.plan) if loss.choice else loss.refusal
            out().print(f"\nwithout {name}: {said}", markup=False, soft_wrap=True)
    if answer.pareto:
        out().print(f"\n{pareto_text(answer.pareto)}", markup=False, soft_wrap=True)
    if answer.last_run:
        out().print()
        out().print(run_table(answer.last_run))
    if answer.note and answer.note not in answer.plan.reason:
        out().print(f"\n{answer.note}", markup=False, soft_wrap=True)


def run_table(run: RunReport) -> Table:
    """Predicted against measured compute of each stage."""
    made = table("last run, stage", ">predicted", ">measured", ">off by")
    for stage in run.stages:
        measured = f"{stage.measured_seconds * 1000:.1f} ms"
        predicted, off = "", ""
        if stage.predicted_seconds is not None:
            predicted = f"{stage.predicted_seconds * 1000:.1f} ms"
            off = f"{stage.predicted_seconds / stage.measured_seconds - 1:+.1%}" if stage.measured_seconds else ""
        made.add_row(escape(stage.stage), predicted, measured, off)
    return made


def write_svg(answer: Answer, file: Path) -> None:
    """Draw the plan. Raises ConfigurationError where nothing is known to draw, or the file cannot be written."""
    if answer.figures is None:
        raise ConfigurationError(
            "there is nothing to draw: the plan's times are not known; add --profile to measure them"
        )
    try:
        file.write_text(draw_svg(answer.figures, format_plan(answer.plan)), encoding="utf-8")
    except OSError as error:
        raise ConfigurationError(f"the drawing cannot be written to {str(file)!r}: {error.strerror}") from None
