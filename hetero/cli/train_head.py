"""`hetero train-head`: a classifier on a frozen model's vectors, trained with differential privacy."""

from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hetero.cli import options
from hetero.cli.output import only_results_on_stdout, out, print_json, work_progress
from hetero.cli.running import read_settings, running

if TYPE_CHECKING:
    from privacy.heads.card import HeadCard

Data = Annotated[Path, typer.Option("--data", help="A TSV file: text, tab, label; one row a line.", metavar="FILE")]
Output = Annotated[Path, typer.Option("--output", help="The head's folder, to be written.", metavar="FOLDER")]
Epsilon = Annotated[float | None, typer.Option("--dp-epsilon", help="Protect each row by this epsilon; none: not.")]
Delta = Annotated[float, typer.Option("--dp-delta", help="The delta of the guarantee, well below 1 / rows.")]
Hidden = Annotated[int, typer.Option("--hidden", min=0, help="Units of a hidden layer; 0: a linear head.")]
Epochs = Annotated[int, typer.Option("--epochs", min=1, help="How often each row is seen, on average.")]
Batch = Annotated[int, typer.Option("--batch", min=1, help="Rows a step, on average.")]
Rate = Annotated[
    float | None, typer.Option("--learning-rate", min=1e-6, help="The step size; none: 0.5, or 0.01 with local DP.")
]
Clip = Annotated[float, typer.Option("--gradient-clip", min=1e-6, help="The bound of each row's gradient.")]
LocalEpsilon = Annotated[
    float | None, typer.Option("--local-epsilon", help="Train for vectors that clients noise by this epsilon.")
]
LocalDelta = Annotated[float, typer.Option("--local-delta", help="The delta of what clients do.")]
Project = Annotated[
    int, typer.Option("--project", min=0, help="Numbers that clients send in place of a vector; 0: the vector.")
]
Check = Annotated[
    Path | None, typer.Option("--eval", help="A TSV file of public rows to test the head on.", metavar="FILE")
]


def train_head(
    model: options.Model,
    data: Data,
    output: Output,
    dp_epsilon: Epsilon = None,
    dp_delta: Delta = 1e-6,
    hidden: Hidden = 0,
    epochs: Epochs = 40,
    batch: Batch = 1024,
    learning_rate: Rate = None,
    gradient_clip: Clip = 1.0,
    local_epsilon: LocalEpsilon = None,
    local_delta: LocalDelta = 1e-6,
    project: Project = 0,
    check: Check = None,
    plan: options.Plan = None,
    precision: options.Precision = None,
    address: options.Address = None,
    config: options.Config = None,
    as_json: options.Json = False,
) -> None:
    """Train a classifier head on a model's vectors; with --dp-epsilon no single row can be made out from it."""
    from hetero.head_training import HeadJob, read_rows, train
    from privacy.heads.training import Recipe

    local = None if local_epsilon is None else (local_epsilon, local_delta)
    rate = learning_rate or (0.5 if local is None else 0.01)
    recipe = Recipe(dp_epsilon, dp_delta, hidden, epochs, batch, rate, gradient_clip, project)
    rows, checked = read_rows(data), read_rows(check) if check else None
    settings = read_settings(config, {"plan": plan, "precision": precision, "address": address})
    with only_results_on_stdout() if as_json else nullcontext(), running(model, settings) as runtime:
        with work_progress("training") as tell:
            card, accuracy = train(runtime, HeadJob(rows, output, recipe, checked, local), tell)
        _show(card, accuracy, output, as_json)


def _show(card: "HeadCard", accuracy: float | None, output: Path, as_json: bool) -> None:
    if as_json:
        print_json({"folder": str(output), "accuracy": accuracy, "card": asdict(card)})
        return
    if card.guarantee is None:
        out().print("trained without differential privacy: keep the head as secret as its rows", markup=False)
    else:
        stated = card.guarantee
        out().print(
            f"({stated.epsilon:.3g}, {stated.delta:.1e})-differential privacy of each row;"
            f" noise multiplier {card.training.noise_multiplier:.3g}, {card.training.steps} steps",
            markup=False,
        )
    if accuracy is not None:
        out().print(f"accuracy on the rows of --eval: {accuracy:.1%}", markup=False)
    out().print(f"the head and its card are in {output}", markup=False)
