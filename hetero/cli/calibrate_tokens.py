"""`hetero calibrate` of a decoder: where its exit is to be taken at its word, at a promise, on the plan that serves."""

from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from hetero.cli.output import file_progress, only_results_on_stdout, out, starting
from hetero.errors import InvalidRequestError

if TYPE_CHECKING:
    from adaptive.report import CalibrationReport
    from hetero.config import Settings
    from hetero.exits.token_calibration import TokenWishes


def calibrate_decoder(
    model: str, data: Path, wishes: "TokenWishes", at: tuple[int, ...], settings: "Settings", as_json: bool
) -> None:
    """Certify the mode that is wished for, and write the report beside the model. `at`: the depth of the exit."""
    from hetero.exits.report_files import write_report
    from hetero.exits.token_calibration import calibrate_tokens, check_sequences, cut_prompts
    from hetero.limits import choose_draft_depth
    from hetero.models.config import DecoderConfig
    from hetero.models.config_reader import read_config
    from hetero.models.source import resolve
    from hetero.models.tokenizer import Tokenizer
    from hetero.runtime import Runtime

    if len(at) > 1:
        raise InvalidRequestError("a decoder has one exit at a time; give one depth after --at")
    draft_depth = at[0] if at else None
    check_sequences(wishes)
    folder = resolve(model)
    config = read_config(folder)
    assert isinstance(config, DecoderConfig)
    prompts = cut_prompts(Tokenizer(folder).encode(_text(data)), wishes)
    with only_results_on_stdout() if as_json else nullcontext():
        with starting() as show:
            runtime = Runtime(
                model, settings.plan, precision=settings.precision, address=settings.address,
                threads=settings.threads, cache=settings.cache, exits="observe", draft_depth=draft_depth,
                on_progress=show,
            )  # fmt: skip
        with runtime, file_progress("thresholds") as tell:
            depth = choose_draft_depth(folder, config, runtime.plan, "observe", draft_depth)
            report = calibrate_tokens(runtime, folder, config, depth, prompts, wishes, tell)
        path = write_report(folder, report, wishes.mode)
        if as_json:
            print(report.text(), end="", flush=True)
        else:
            _show(report, wishes, path)


def _text(data: Path) -> str:
    try:
        return data.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidRequestError(f"{data} cannot be read as text ({error})") from None


def _show(report: "CalibrationReport", wishes: "TokenWishes", path: Path) -> None:
    (depth,), profile = report.exits, report.profile
    left = profile.block_count - depth
    said = (
        f"exit after {depth} of {profile.block_count} blocks, taken at its word from a probability of"
        f" {report.threshold:g}: it says {profile.exit_share(depth):.1%} of tokens",
        f"asking it costs {report.head_blocks:.2f} of a block, and a token that it says spares the head once and"
        f" {left} blocks their turn",
        f"in {report.samples} completions {report.risk:.2%} of tokens differ on average; with"
        f" {1 - report.delta:.0%} confidence at most {report.bounds[-1]:.2%} do, and {report.epsilon:.2%} was allowed",
        f"written to {path}; serve it with `--exits {wishes.mode}`",
    )
    for line in said:
        out().print(line, markup=False, soft_wrap=True)
