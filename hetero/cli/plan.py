"""`hetero plan`: which device would run which blocks, how fast, and why. Starts nothing, but for `--profile`."""

import os
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated

import typer

from hetero.cli import options
from hetero.cli.output import only_results_on_stdout, print_json
from hetero.cli.plan_answer import answer
from hetero.cli.plan_question import Question
from hetero.cli.plan_report import answer_document, show_answer, write_svg
from hetero.config import load_settings

Objective = Annotated[str, typer.Option("--objective", help="latency, throughput, ttft or energy.")]
PromptTokens = Annotated[int | None, typer.Option("--prompt-tokens", min=1, help="Tokens of an expected prompt.")]
OutputTokens = Annotated[int | None, typer.Option("--output-tokens", min=1, help="Tokens of an expected answer.")]
Concurrency = Annotated[int, typer.Option("--concurrency", min=1, help="Requests at the same time.")]
Pins = Annotated[
    list[str] | None,
    typer.Option("--pin", help="These blocks on this device, for example npu:0-4; the rest is chosen."),
]
Excluded = Annotated[list[str] | None, typer.Option("--exclude", help="Leave this device out.")]
SplitCpu = Annotated[bool, typer.Option("--split-cpu", help="Let each core of a CPU be a device, too.")]
Svg = Annotated[Path | None, typer.Option("--svg", help="Draw the plan into this file.", metavar="FILE")]
MeasureFirst = Annotated[bool, typer.Option("--profile", help="Measure what is not known yet, before choosing.")]
ProfileFile = Annotated[
    Path | None, typer.Option("--profile-file", help="A profile to use in place of the cache's.", metavar="FILE")
]
Budget = Annotated[float, typer.Option("--budget-seconds", min=1, help="About how long --profile measures.")]

BoundTexts = Annotated[
    list[str] | None,
    typer.Option(
        "--bound",
        help="Keep this while the objective is made best: latency=SECONDS, ttft=SECONDS, throughput=REQUESTS a second"
        " or energy=JOULES.",
    ),
]
PowerTexts = Annotated[
    list[str] | None,
    typer.Option("--power", help="DEVICE=WATTS that it draws more while it computes; energy needs it of each device."),
]
Survival = Annotated[
    str | None,
    typer.Option(
        "--survival",
        help="Early exit: for each block, parted by commas, how likely an input still needs it. None: as measured,"
        " where the model's exits are calibrated.",
    ),
]
ChooseExits = Annotated[
    bool,
    typer.Option("--choose-exits", help="Choose, together with the cuts, which of an encoder's exits to keep."),
]
Epsilon = Annotated[
    float,
    typer.Option("--epsilon", help="With --choose-exits: the share of answers that may differ from full depth's."),
]
Pareto = Annotated[
    str | None,
    typer.Option("--pareto", help="List the plans between the objective and this one that none beats in both."),
]


def plan(
    model: options.Model,
    plan: options.Plan = None,
    precision: options.Precision = None,
    context: options.Context = None,
    objective: Objective = "latency",
    prompt_tokens: PromptTokens = None,
    output_tokens: OutputTokens = None,
    concurrency: Concurrency = 1,
    pin: Pins = None,
    exclude: Excluded = None,
    split_cpu: SplitCpu = False,
    measure_first: MeasureFirst = False,
    profile_file: ProfileFile = None,
    budget_seconds: Budget = 60.0,
    bound: BoundTexts = None,
    power: PowerTexts = None,
    survival: Survival = None,
    choose_exits: ChooseExits = False,
    epsilon: Epsilon = 0.01,
    pareto: Pareto = None,
    svg: Svg = None,
    policy: options.Policy = None,
    heads: options.Heads = None,
    encrypted: options.Encrypted = None,
    address: options.Address = None,
    config: options.Config = None,
    as_json: options.Json = False,
) -> None:
    """Show the plan for a model, what it should come to, and the reason for it.

    With --policy blocks run on devices that may see them alone, and layers that it marks run on ciphertexts.
    """
    placed = {"plan": plan, "precision": precision, "context": context, "address": address}
    flags = placed | {"policy": policy, "heads": heads, "encrypted": encrypted}
    question = Question(
        model,
        load_settings(config, os.environ, flags),
        objective=objective,
        prompt_tokens=prompt_tokens,
        output_tokens=output_tokens,
        concurrency=concurrency,
        pins=tuple(pin or ()),
        excluded=tuple(exclude or ()),
        split_cpu=split_cpu,
        measure_seconds=budget_seconds if measure_first else None,
        profile_file=profile_file,
        bounds=tuple(bound or ()),
        power=tuple(power or ()),
        survival=survival,
        pareto=pareto,
        exit_epsilon=epsilon if choose_exits else None,
    )
    with only_results_on_stdout() if as_json else nullcontext():
        found = answer(question)
        if svg is not None:
            write_svg(found, svg)
        if as_json:
            print_json(answer_document(found))
        else:
            show_answer(found)
