"""`hetero bench exits`: what an encoder's exits save, what they cost in answers, and whether their promise holds."""

from contextlib import ExitStack, nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hetero.cli import options
from hetero.cli.output import only_results_on_stdout, out, print_json, starting, status, table
from hetero.cli.running import read_settings

if TYPE_CHECKING:
    from hetero.config import Settings
    from hetero.exits.texts import LabelledTexts
    from hetero.runtime import Runtime

Data = Annotated[Path, typer.Option("--data", help="Texts that calibration has not seen.", metavar="FILE.tsv")]
Batch = Annotated[list[int] | None, typer.Option("--batch", min=1, help="Texts of a batch; several: 8.")]
Rounds = Annotated[int, typer.Option("--rounds", min=0, help="How often each is measured in turn; 0: no times.")]
OffRounds = Annotated[int, typer.Option("--off-rounds", min=0, help="Rounds of requests that ask no exit.")]
Splits = Annotated[int, typer.Option("--splits", min=0, help="Random splits to test certificates on; 0: none.")]
Svg = Annotated[Path | None, typer.Option("--svg", help="Write the curve here.", metavar="FILE.svg")]
_SIZES, _EPSILONS, _DELTA = (300, 500, 1000), (0.01, 0.02), 0.1


def exits(
    model: options.Model,
    data: Data,
    batch: Batch = None,
    rounds: Rounds = 5,
    off_rounds: OffRounds = 0,
    splits: Splits = 0,
    svg: Svg = None,
    plan: options.Plan = None,
    precision: options.Precision = None,
    address: options.Address = None,
    config: options.Config = None,
    as_json: options.Json = False,
) -> None:
    """Texts a second with exits and without any heads, accuracy against depth, and certificates over random splits."""
    from hetero.exits.making import encoder_config
    from hetero.exits.texts import read_texts_file
    from hetero.models.source import resolve

    texts = read_texts_file(data, encoder_config(resolve(model)).labels)
    settings = read_settings(config, {"plan": plan, "precision": precision, "address": address})
    with only_results_on_stdout() if as_json else nullcontext(), status() as tell:
        document: dict[str, Any] = {"texts": len(texts)}
        if rounds or off_rounds:
            document["rates"] = [
                _rates(model, settings, texts, size, (rounds, off_rounds), tell) for size in batch or [8]
            ]
        if splits or svg:
            document |= _figures(model, settings, texts, splits, tell)
        if svg:
            svg.write_text(_drawing(document["curve"]), encoding="utf-8")
        if as_json:
            print_json(document)
        else:
            _show(document)


def _start(model: str, settings: "Settings", exits: Any, batch: int) -> "Runtime":
    from hetero.runtime import Runtime

    with starting() as show:
        return Runtime(
            model, settings.plan, precision=settings.precision, address=settings.address, max_sequences=batch,
            max_batch_tokens=max(512, 128 * batch), threads=settings.threads, micro_batches=4, exits=exits,
            on_progress=show,
        )  # fmt: skip


def _rates(
    model: str, settings: "Settings", texts: "LabelledTexts", batch: int, rounds: tuple[int, int], tell: Any
) -> dict[str, Any]:
    from hetero.bench.exits import measure_exits
    from hetero.bench.exits_off import measure_off

    with ExitStack() as stack:
        plain = stack.enter_context(_start(model, settings, "off", batch))
        exiting = stack.enter_context(_start(model, settings, "auto", batch))
        labels = None if texts.labels is None else texts.labels.tolist()
        found: dict[str, Any] = {"batch": batch}
        if rounds[1]:
            found["off"] = asdict(measure_off(plain, exiting, texts.texts, batch, rounds[1], tell))
        if rounds[0]:
            found |= asdict(measure_exits(plain, exiting, texts.texts, labels, batch, rounds[0], tell))
        told = exiting.stats().exits
        return found | {"status": asdict(told) if told else None}


def _figures(model: str, settings: "Settings", texts: "LabelledTexts", splits: int, tell: Any) -> dict[str, Any]:
    from adaptive.bounds import Bound
    from hetero.bench.exit_curve import certificate_splits, complexity_document, curve_document
    from hetero.exits.calibration import Wishes, observe, plan_exits
    from hetero.exits.costs import head_cost_blocks
    from hetero.exits.storage import read_card, read_held_out
    from hetero.models.source import resolve
    from hetero.models.tokenizer import Tokenizer

    folder = resolve(model)
    card = read_card(folder)
    tell("observing every exit")
    with _start(model, settings, "observe", 16) as runtime:
        seen = observe(runtime, card, texts.texts)
    chosen = plan_exits(read_held_out(folder, card), head_cost_blocks(folder), Wishes())
    labels = None if texts.labels is None else texts.labels.tolist()
    tokenizer = Tokenizer(folder)
    found = {
        "measures": {str(name): values for name, values in chosen.aurocs.items()},
        "exits": [card.depths[index] for index in chosen.kept.exits],
        "curve": curve_document(chosen, seen, labels),
        "complexity": complexity_document(seen, [tokenizer.encode(text) for text in texts.texts]),
    }
    made = [
        {"bound": str(bound)} | asdict(each)
        for bound in (Bound if splits else ())
        for each in certificate_splits(chosen, seen, _EPSILONS, _SIZES, _DELTA, bound, splits, tell)
    ]
    return found | {"splits": made}


def _drawing(curve: dict[str, list[dict[str, float]]]) -> str:
    from hetero.bench.curve_svg import draw_lines

    lines = {name: [(point["mean_depth"], point["accuracy"]) for point in points] for name, points in curve.items()}
    return draw_lines(lines, "blocks run for a text, on average", "accuracy")


def _show(document: dict[str, Any]) -> None:
    rates = [rate for rate in document.get("rates", ()) if "speedup" in rate]
    if rates:
        made = table(">batch", ">without heads/s", ">with exits/s", ">speed-up", ">switched off", ">differ", ">depth")
        for rate in rates:
            numbers = [rate[name] for name in ("full_texts_per_second", "exit_texts_per_second")]
            made.add_row(
                str(rate["batch"]), *(f"{number:.0f}" for number in numbers), f"{rate['speedup']:.2f}",
                f"{rate['off_ratio']:.3f}", f"{rate['disagreement']:.2%}", f"{rate['mean_depth']:.2f}",
            )  # fmt: skip
        out().print(made)
        for rate in rates:
            out().print(_remark(rate), markup=False)
    for rate in document.get("rates", ()):
        if "off" in rate:
            off = rate["off"]
            words = f"of the rate without exits, mean of {len(off['ratios'])} rounds, standard error"
            out().print(f"batch {rate['batch']}, switched off: {off['ratio']:.3f} {words} {off['standard_error']:.3f}")
    for row in document.get("splits", ()):
        out().print(
            f"{row['bound']}: epsilon {row['epsilon']:g}, {row['samples']} samples: {row['violated']} of"
            f" {row['splits']} broken (at most {row['high']:.1%}), {row['mean_depth']:.2f} blocks",
            markup=False,
        )
    for name, value in document.get("complexity", {}).items():
        out().print(f"rank correlation with the oracle's depth, {name}: {value:+.3f}", markup=False)


def _remark(rate: dict[str, Any]) -> str:
    told = rate["status"] or {}
    depths = ", ".join(f"{count} at {depth}" for depth, count in rate["depths"].items())
    words = f"depths: {depths}; {told.get('mode')}: {told.get('reason')}"
    for name, ratios in (("speed-ups", rate["speedups"]), ("off", rate["off_ratios"]), ("noise", rate["noise"])):
        words += f"; {name} {min(ratios):.3f} to {max(ratios):.3f}"
    if rate["full_accuracy"] is not None:
        words += f"; accuracy {rate['full_accuracy']:.4f} at full depth, {rate['exit_accuracy']:.4f} with exits"
    return words
