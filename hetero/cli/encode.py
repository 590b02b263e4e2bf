"""`hetero embed` and `hetero classify`: texts through an encoder."""

import sys
from contextlib import nullcontext
from typing import Annotated

import typer

from hetero.cli import options
from hetero.cli.describe import plan_document
from hetero.cli.output import only_results_on_stdout, out, print_json, table
from hetero.cli.running import read_settings, running
from hetero.errors import InvalidRequestError

Texts = Annotated[
    list[str] | None, typer.Option("--text", help="A text; may be given several times. None: one a line of stdin.")
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
    address: options.Address = None,
    config: options.Config = None,
    as_json: options.Json = False,
) -> None:
    """Say which class each text is of."""
    texts = read_texts(text)
    settings = read_settings(config, {"plan": plan, "precision": precision, "address": address})
    with only_results_on_stdout() if as_json else nullcontext(), running(model, settings) as runtime:
        scored = runtime.classify(texts)
        documents = [dict(zip(scores.labels, scores.probabilities, strict=True)) for scores in scored]
        if as_json:
            print_json({"classes": documents, "plan": plan_document(runtime.plan)})
            return
        made = table("text", "class", ">probability")
        for line, document in zip(texts, documents, strict=True):
            best = max(document, key=document.__getitem__)
            made.add_row(line, best, f"{document[best]:.4f}")
        out().print(made)


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
