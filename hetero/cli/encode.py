"""`hetero embed` and `hetero classify`: texts through an encoder."""

import sys
from contextlib import nullcontext
from typing import Annotated

import typer

from adaptive.modes import ExitMode
from hetero.cli import options
from hetero.cli.describe import plan_document
from hetero.cli.output import note, only_results_on_stdout, out, print_json, table
from hetero.cli.running import check_encoder, read_settings, running
from hetero.errors import InvalidRequestError
from hetero.exits.control import choice_of

Texts = Annotated[
    list[str] | None, typer.Option("--text", help="A text; may be given several times. None: one a line of stdin.")
]
Adaptive = Annotated[
    str | None, typer.Option("--adaptive", help="off: full depth; terminate: easy texts may stop at an exit.")
]
MaxDisagreement = Annotated[
    float | None, typer.Option("--max-disagreement", help="The share of answers that may differ from full depth's.")
]
_SHOWN_NUMBERS = 6


def embed(
    model: options.Model,
    text: Texts = None,
    plan: options.Plan = None,
    precision: options.Precision = None,
    address: options.Address = None,
    config: options.Config = None,
    as_json: options.Json = False,
) -> None:
    """Turn texts into vectors."""
    texts = read_texts(text)
    settings = read_settings(config, {"plan": plan, "precision": precision, "address": address})
    check_encoder(model, classifies=False)
    with only_results_on_stdout() if as_json else nullcontext(), running(model, settings) as runtime:
        vectors = runtime.embed(texts)
        if as_json:
            print_json({"embeddings": vectors.tolist(), "plan": plan_document(runtime.plan)})
            return
        for line, vector in zip(texts, vectors, strict=True):
            shown = " ".join(f"{number:+.4f}" for number in vector[:_SHOWN_NUMBERS])
            out().print(f"{line}\t[{len(vector)}] {shown} ...", markup=False)


def classify(
    model: options.Model,
    text: Texts = None,
    plan: options.Plan = None,
    precision: options.Precision = None,
    adaptive: Adaptive = None,
    max_disagreement: MaxDisagreement = None,
    address: options.Address = None,
    config: options.Config = None,
    as_json: options.Json = False,
) -> None:
    """Say which class each text is of."""
    choice = choice_of(adaptive, max_disagreement)
    texts = read_texts(text)
    settings = read_settings(config, {"plan": plan, "precision": precision, "address": address})
    check_encoder(model, classifies=True)
    with only_results_on_stdout() if as_json else nullcontext(), running(model, settings) as runtime:
        scored = runtime.classify(texts, choice)
        documents = [dict(zip(scores.labels, scores.probabilities, strict=True)) for scores in scored]
        if as_json:
            depths = [scores.depth for scores in scored]
            print_json({"classes": documents, "depths": depths, "plan": plan_document(runtime.plan)})
            return
        made = table("text", "class", ">probability", ">blocks run")
        for line, document, scores in zip(texts, documents, scored, strict=True):
            best = max(document, key=document.__getitem__)
            made.add_row(line, best, f"{document[best]:.4f}", str(scores.depth))
        out().print(made)
        told = runtime.stats().exits
        if told is not None and told.mode is ExitMode.OFF and choice is not None and choice.mode is not ExitMode.OFF:
            note().print(f"full depth: {told.reason}", style="dim", markup=False, soft_wrap=True)


def read_texts(given: list[str] | None) -> list[str]:
    """The texts of the flags, or the lines of stdin. Raises InvalidRequestError where there is none, or no UTF-8."""
    if given:
        return given
    try:
        lines = [line for line in sys.stdin.buffer.read().decode("utf-8").splitlines() if line]
    except UnicodeDecodeError:
        raise InvalidRequestError("the texts on stdin are not UTF-8; convert them first") from None
    if not lines:
        raise InvalidRequestError("there is no text; give one with --text, or one a line on stdin")
    return lines
