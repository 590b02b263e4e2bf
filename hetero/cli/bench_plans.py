"""`hetero bench plans`: how well plans are predicted on this machine, and how good the chosen one is."""

from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Table

from hetero.cli import options
from hetero.cli.bench_model import MaybeModel, RandomConfig, model_folder
from hetero.cli.output import only_results_on_stdout, out, print_json, table, work_progress
from hetero.cli.profile import Devices, Engines, Precisions
from hetero.cli.running import read_settings

if TYPE_CHECKING:
    from hetero.bench.plan_trial import PlanTrial, PlanTrialReport

Count = Annotated[int, typer.Option("--plans", min=1, help="How many plans to compare, beside the chosen one.")]
Rounds = Annotated[int, typer.Option("--rounds", min=1, help="Passes over the profile and the plans, by turns.")]
Rides = Annotated[int, typer.Option("--requests", min=1, help="Requests on each plan in every round.")]
PromptTokens = Annotated[int, typer.Option("--prompt-tokens", min=1, help="Tokens of each prompt.")]
OutputTokens = Annotated[int, typer.Option("--output-tokens", min=1, help="Tokens of each answer.")]
Budget = Annotated[
    float, typer.Option("--budget-seconds", min=1, help="About how long to measure the profile, in all.")
]

RoundsFile = Annotated[
    Path | None,
    typer.Option("--rounds-file", help="Count the rounds in this file, too, and add these to it.", metavar="FILE"),
]

CachedProfile = Annotated[
    bool, typer.Option("--cached-profile", help="Compare with what `hetero profile` measured before.")
]


def plans(
    model: MaybeModel = None,
    random_config: RandomConfig = None,
    device: Devices = None,
    engine: Engines = None,
    precision: Precisions = None,
    count: Count = 24,
    rounds: Rounds = 2,
    requests: Rides = 4,
    prompt_tokens: PromptTokens = 96,
    output_tokens: OutputTokens = 64,
    budget_seconds: Budget = 300.0,
    rounds_file: RoundsFile = None,
    cached_profile: CachedProfile = False,
    address: options.Address = None,
    config: options.Config = None,
    as_json: options.Json = False,
) -> None:
    """Measure a profile, then plans of many kinds through real actors, and compare the two.

    Single cores of a CPU count as devices. Without --device all real devices take part, emulated ones do not.
    """
    from hetero.bench.plan_trial import PlanTrial, run_trial
    from hetero.cluster import connect
    from hetero.profiling.request import Wish
    from placement.problem import Traffic

    settings = read_settings(config, {"address": address})
    chosen = (tuple(device or ()), tuple(engine or ()), tuple(precision or ("fp32", "bf16")))
    wish = Wish(*chosen, not device, budget_seconds, cache=settings.cache)
    trial = PlanTrial(wish, Traffic(prompt_tokens, output_tokens), count, rounds, requests, rounds_file, cached_profile)
    with only_results_on_stdout() if as_json else nullcontext():
        folder = model_folder(model, random_config)
        with work_progress("comparing") as tell, connect(settings.address) as cluster:
            report = run_trial(cluster, folder, trial, tell)
        if as_json:
            print_json({"traffic": asdict(trial.traffic), **asdict(report)})
        else:
            _show(trial, report)


def _show(trial: "PlanTrial", report: "PlanTrialReport") -> None:
    out().print(_rows(report))
    figures = report.accuracy
    out().print(
        f"\n{len(report.rows)} plans; requests of {trial.traffic.prompt_tokens} + {trial.traffic.output_tokens} tokens,"
        f" medians of {report.rides_per_plan} on each\n"
        f"layer MAPE {figures.layer_mape:.1%} over {report.stage_count} times of stages;"
        f" end to end MAPE {figures.end_to_end_mape:.1%}, worst {figures.worst:.1%}\n"
        f"Spearman {figures.spearman:.3f}; regret of the chosen plan {figures.regret:.1%}",
        markup=False,
    )
    for text in report.left_out:
        out().print(f"not measured for want of time: {text}", markup=False)


def _rows(report: "PlanTrialReport") -> Table:
    made = table("plan", ">predicted", ">measured", ">error", ">first token", ">stages' errors", "")
    for row in sorted(report.rows, key=lambda row: row.measured_seconds):
        stages = " ".join(f"{error:+.0%}" for error in row.stage_errors)
        cells = [
            row.plan,
            f"{row.predicted_seconds * 1000:.1f} ms",
            f"{row.measured_seconds * 1000:.1f} ms",
            f"{row.predicted_seconds / row.measured_seconds - 1:+.1%}",
            f"{row.first_token_seconds * 1000:.1f} ms",
            stages,
            "chosen" if row.plan == report.chosen else "",
        ]
        made.add_row(*(escape(cell) for cell in cells))
    return made
