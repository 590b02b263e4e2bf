"""`hetero calibrate`: how early a model may answer, at a promise, on the pipeline that will serve.

Knows encoders; a decoder's part is `calibrate_tokens.py`.
"""

from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from adaptive.bounds import Bound
from adaptive.measures import Measure
from adaptive.modes import ExitMode
from hetero.cli import options
from hetero.cli.calibrate_tokens import calibrate_decoder
from hetero.cli.output import file_progress, only_results_on_stdout, out, starting, table
from hetero.cli.running import read_settings
from hetero.cli.train_exits import read_depths
from hetero.errors import InvalidRequestError

if TYPE_CHECKING:
    from adaptive.report import CalibrationReport
    from hetero.runtime import Runtime

Name = TypeVar("Name", Bound, Measure)

Data = Annotated[
    Path,
    typer.Option(
        "--data",
        help="Texts like those to come, one a line; labels are not needed. For a decoder: plain text.",
        metavar="FILE",
    ),
]
Epsilon = Annotated[float, typer.Option("--epsilon", help="The share of answers that may differ from full depth's.")]
Delta = Annotated[float, typer.Option("--delta", help="The chance that the promise is wrong.")]
BoundName = Annotated[
    str, typer.Option("--bound", help="betting (any loss), or binomial (exact for differing or not, and tighter).")
]
MeasureName = Annotated[
    str | None, typer.Option("--measure", help="maximum, margin, entropy, patience, saturation, gate; None: the best.")
]
MostExits = Annotated[int, typer.Option("--exits", min=1, help="Exits to keep at most.")]
Mode = Annotated[str, typer.Option("--mode", help="For a decoder: skip or release.")]
Sequences = Annotated[int, typer.Option("--sequences", min=1, help="For a decoder: completions that count.")]
PromptTokens = Annotated[int, typer.Option("--prompt-tokens", min=1, help="For a decoder: tokens of each prompt.")]
Tokens = Annotated[int, typer.Option("--tokens", min=1, help="For a decoder: tokens of each completion at most.")]

At = Annotated[
    str | None,
    typer.Option("--at", help="Keep just the exits at these depths, as `hetero plan --choose-exits` names them."),
]


def calibrate(
    model: options.Model,
    data: Data,
    epsilon: Epsilon = 0.01,
    delta: Delta = 0.1,
    bound: BoundName = "betting",
    measure: MeasureName = None,
    most_exits: MostExits = 3,
    at: At = None,
    mode: Mode = "skip",
    sequences: Sequences = 400,
    prompt_tokens: PromptTokens = 32,
    tokens: Tokens = 64,
    plan: options.Plan = None,
    precision: options.Precision = None,
    address: options.Address = None,
    config: options.Config = None,
    as_json: options.Json = False,
) -> None:
    """Certify the exits of MODEL, through the plan that is to serve it; the report is written beside the model."""
    from hetero.exits import calibration
    from hetero.exits.making import encoder_config
    from hetero.exits.report_files import write_report
    from hetero.exits.storage import check_card, read_card
    from hetero.exits.texts import read_texts_file
    from hetero.exits.token_calibration import TokenWishes
    from hetero.models.config import DecoderConfig
    from hetero.models.config_reader import read_config
    from hetero.models.source import resolve
    from hetero.runtime import Runtime

    wishes = calibration.Wishes(
        epsilon,
        delta,
        _named(Bound, bound),
        None if measure is None else _named(Measure, measure),
        most_exits,
        read_depths(at),
    )
    folder = resolve(model)
    settings = read_settings(config, {"plan": plan, "precision": precision, "address": address})
    if isinstance(read_config(folder), DecoderConfig):
        asked = TokenWishes(_lossy(mode), epsilon, delta, sequences, prompt_tokens, tokens)
        calibrate_decoder(model, data, asked, read_depths(at), settings, as_json)
        return
    encoder = encoder_config(folder)
    check_card(folder, read_card(folder), encoder)
    texts = read_texts_file(data, encoder.labels).texts
    calibration.check_sample(len(texts), wishes)

    def start(exits: tuple[int, ...]) -> "Runtime":
        with starting() as show:
            return Runtime(
                model, settings.plan, precision=settings.precision, address=settings.address,
                threads=settings.threads, cache=settings.cache, exits=exits, on_progress=show,
            )  # fmt: skip

    with only_results_on_stdout() if as_json else nullcontext():
        with file_progress("texts") as tell:
            report = calibration.calibrate(start, folder, texts, wishes, tell)
        path = write_report(folder, report)
        if as_json:
            print(report.text(), end="", flush=True)
        else:
            _show(report, path)


def _lossy(name: str) -> ExitMode:
    if name not in ("skip", "release"):
        raise InvalidRequestError(f"the mode {name!r} needs no calibration or is not a decoder's; give skip or release")
    return ExitMode(name)


def _named(kind: type[Name], name: str) -> Name:
    try:
        return kind(name)
    except ValueError:
        raise InvalidRequestError(f"there is no {name!r}; there are {', '.join(kind)}") from None


def _show(report: "CalibrationReport", path: Path) -> None:
    made = table("measure", *(f">exit {depth}" for depth in report.policy.depths))
    for name, values in report.aurocs.items():
        mark = " *" if name == report.policy.measure else ""
        made.add_row(f"{name}{mark}", *(f"{value:.3f}" for value in values))
    out().print(made)
    exits = ", ".join(map(str, report.exits)) or "none: no exit pays"
    said = (
        f"\nexits kept: {exits}; a head costs {report.head_blocks:.3f} of a block",
        f"of {report.samples} texts {report.risk:.2%} differ; with {1 - report.delta:.0%} confidence at most"
        f" {report.bounds[-1]:.2%} do, and {report.epsilon:.2%} was allowed ({report.method})",
        f"blocks run for a text: {report.profile.mean_depth:.2f} of {report.profile.block_count} on average",
        f"written to {path}",
    )
    for line in said:
        out().print(line, markup=False)
