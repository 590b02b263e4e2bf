"""`hetero train-exits`: heads at several depths of a model, so that what is easy need not go all the way."""

import os
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hetero.cli import options
from hetero.cli.output import only_results_on_stdout, out, print_json, table, work_progress
from hetero.errors import InvalidRequestError

if TYPE_CHECKING:
    from hetero.exits.making import Made
    from hetero.models.config import DecoderConfig

Data = Annotated[
    Path,
    typer.Option(
        "--data", help="Texts, one a line; behind a tab the label. For a decoder: plain text.", metavar="FILE"
    ),
]
At = Annotated[
    str | None, typer.Option("--at", help="Depths of the exits, as in 2,4. None: every depth; for a decoder a quarter.")
]
TrainBackbone = Annotated[
    bool, typer.Option("--train-backbone", help="Train the whole encoder with its heads, into the folder --out.")
]
Out = Annotated[Path | None, typer.Option("--out", help="Where a trained backbone goes.", metavar="FOLDER")]
Epochs = Annotated[
    int, typer.Option("--epochs", min=1, help="Passes over the texts, with --train-backbone or for a decoder.")
]
Seed = Annotated[int, typer.Option("--seed", min=0, help="The same seed gives the same heads.")]


def train_exits(
    model: options.Model,
    data: Data,
    at: At = None,
    train_backbone: TrainBackbone = False,
    output: Out = None,
    epochs: Epochs = 3,
    seed: Seed = 0,
    as_json: options.Json = False,
) -> None:
    """Train exits: heads that learn to say, from early layers, what the last one says."""
    from hetero.exits.texts import read_texts_file
    from hetero.models.config import DecoderConfig
    from hetero.models.config_reader import read_config
    from hetero.models.source import resolve
    from hetero.pipeline.serving import tune_threads

    tune_threads(len(os.sched_getaffinity(0)))
    folder = resolve(model)
    config = read_config(folder)
    if isinstance(config, DecoderConfig):
        if train_backbone:
            raise InvalidRequestError("--train-backbone is for encoders; a decoder stays as it is")
        _train_maps(folder, config, data, read_depths(at), epochs, seed, as_json)
        return
    texts = read_texts_file(data, getattr(config, "labels", ()))
    if train_backbone != (output is not None):
        raise InvalidRequestError("--train-backbone writes another model: give both it and --out FOLDER, or neither")
    from hetero.exits.making import all_depths, make_frozen, make_joint

    depths = read_depths(at) or all_depths(config)
    with work_progress("training exits") as tell:
        if output is None:
            made = make_frozen(folder, texts, depths, tell, seed)
        else:
            made = make_joint(folder, texts, depths, output, tell, epochs, seed)
    if as_json:
        with only_results_on_stdout():
            print_json(_document(made))
        return
    _show(made)


def _train_maps(
    folder: Path, config: "DecoderConfig", data: Path, depths: tuple[int, ...], epochs: int, seed: int, as_json: bool
) -> None:
    from hetero.exits.drafting_making import make_maps

    with work_progress("training exits") as tell:
        made = make_maps(folder, config, data, depths, tell, epochs, seed)
    if as_json:
        print_json({"model": str(made.model), "card": asdict(made.card)})
        return
    card, shown = made.card, table(">exit", ">agrees with full depth", ">the model's head alone")
    for depth, share, plain in zip(card.depths, card.agreement, card.plain_agreement, strict=True):
        shown.add_row(str(depth), f"{share:.1%}", f"{plain:.1%}")
    out().print(shown)
    out().print(f"\nthe exits are beside {made.model}; `--exits verify` drafts with them", markup=False)


def read_depths(text: str | None) -> tuple[int, ...]:
    """`2,4` as numbers; none where nothing is given. Raises InvalidRequestError."""
    if not text:
        return ()
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise InvalidRequestError(f"--at {text} names no depths; write them as in 2,4") from None


def _document(made: "Made") -> dict[str, object]:
    return {"model": str(made.model), "card": asdict(made.card)}


def _show(made: "Made") -> None:
    shown = table(">exit", ">agrees with full depth")
    for depth, share in zip(made.card.depths, made.card.agreement, strict=True):
        shown.add_row(str(depth), f"{share:.1%}")
    out().print(shown)
    out().print(
        f"\n{len(made.card.depths)} exits are beside {made.model}; now run"
        f" `hetero calibrate {made.model} --data FILE.tsv` on texts that they have not seen",
        markup=False,
    )
