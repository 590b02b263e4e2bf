"""`hetero bench`: what a hop between stages costs, how fast a model decodes, how well plans are predicted."""

from collections.abc import Iterator
from contextlib import ExitStack, nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hetero.cli import options
from hetero.cli.bench_exits import exits
from hetero.cli.bench_he import he, he_load, he_mutations
from hetero.cli.bench_heads import heads
from hetero.cli.bench_hops import hops
from hetero.cli.bench_model import MaybeModel, RandomConfig, model_folder
from hetero.cli.bench_plans import plans
from hetero.cli.bench_pointers import pointers
from hetero.cli.bench_privacy import privacy
from hetero.cli.bench_verify import verify
from hetero.cli.describe import plan_document, plan_line
from hetero.cli.output import only_results_on_stdout, out, print_json, status, table
from hetero.cli.running import read_settings, running

if TYPE_CHECKING:
    from hetero.bench.decode import DecodeRate
    from hetero.runtime import Runtime

app = typer.Typer(help="Measure this machine.", no_args_is_help=True)
app.command()(heads)
app.command()(hops)
app.command()(plans)
app.command()(privacy)
app.command()(exits)
app.command()(pointers)
app.command()(verify)
app.command()(he)
app.command()(he_load)
app.command()(he_mutations)

VersusPlan = Annotated[str | None, typer.Option("--vs", help="A second plan, measured in turn with the first.")]
Concurrency = Annotated[list[int] | None, typer.Option("--concurrency", help="Requests at once; several: 1 and 16.")]
PromptTokens = Annotated[int, typer.Option("--prompt-tokens", min=1, help="Tokens of each prompt.")]
Tokens = Annotated[int, typer.Option("--tokens", min=2, help="Tokens of each answer.")]
Rounds = Annotated[int, typer.Option("--rounds", min=1, help="How often each is measured; the median counts.")]


@app.command()
def decode(
    model: MaybeModel = None,
    random_config: RandomConfig = None,
    plan: options.Plan = None,
    versus: VersusPlan = None,
    precision: options.Precision = None,
    concurrency: Concurrency = None,
    prompt_tokens: PromptTokens = 32,
    tokens: Tokens = 128,
    rounds: Rounds = 3,
    address: options.Address = None,
    config: options.Config = None,
    as_json: options.Json = False,
) -> None:
    """Tokens per second of a model, alone and with many requests at once, against what the memory allows."""
    from hetero.bench.decode import Load, measure
    from hetero.bench.memory import read_bytes_per_second

    at_once = concurrency or [1, 16]
    loads = [Load(count, prompt_tokens, tokens) for count in at_once]
    flags = {
        "precision": precision,
        "context": prompt_tokens + tokens,
        "max_sequences": max(at_once),
        "address": address,
    }
    with only_results_on_stdout() if as_json else nullcontext(), ExitStack() as stack:
        folder = model_folder(model, random_config)
        settings = [read_settings(config, {**flags, "plan": text}) for text in [plan, *([versus] if versus else [])]]
        # Before and after, and the better of the two: the bound must not fall because something else ran meanwhile.
        speed = read_bytes_per_second()
        runtimes = [stack.enter_context(running(str(folder), setting)) for setting in settings]
        with status() as tell:
            rates = measure(runtimes, loads, rounds, tell)
            tell("measuring the memory")
            document = _document(folder, runtimes, rates, max(speed, read_bytes_per_second()))
        if as_json:
            print_json(document)
        else:
            _show(runtimes, rates, document)


def _document(
    folder: Path, runtimes: "list[Runtime]", rates: "list[list[DecodeRate]]", speed: float
) -> dict[str, object]:
    from hetero.bench.decode import weight_bytes_per_token

    plans = []
    for runtime, found in zip(runtimes, rates, strict=True):
        weight_bytes = weight_bytes_per_token(folder, runtime.plan)
        alone = next((rate for rate in found if rate.concurrency == 1), None)
        plans.append(
            {
                "plan": plan_document(runtime.plan),
                "weight_bytes_per_token": weight_bytes,
                "tokens_per_second_bound": speed / weight_bytes,
                "bound_reached": alone.tokens_per_second * weight_bytes / speed if alone else None,
                "rates": [asdict(rate) for rate in found],
            }
        )
    document: dict[str, object] = {"memory_bytes_per_second": speed, "plans": plans}
    if len(rates) > 1:
        document["ratios"] = [
            {"concurrency": first.concurrency, "ratio": second.tokens_per_second / first.tokens_per_second}
            for first, second in zip(rates[0], rates[1], strict=True)
        ]
    return document


def _show(runtimes: "list[Runtime]", rates: "list[list[DecodeRate]]", document: dict[str, object]) -> None:
    made = table(">plan", ">at once", ">tokens/s", "each round")
    for number, (runtime, found) in enumerate(zip(runtimes, rates, strict=True), 1):
        out().print(f"plan {number}: {plan_line(runtime.plan)}", markup=False)
        for rate in found:
            rounds = " ".join(f"{each:.1f}" for each in rate.rounds)
            made.add_row(str(number), str(rate.concurrency), f"{rate.tokens_per_second:.1f}", rounds)
    out().print()
    out().print(made)
    out().print()
    for line in _remarks(document):
        out().print(line, markup=False)


def _remarks(document: dict[str, Any]) -> Iterator[str]:
    yield f"the memory reads {document['memory_bytes_per_second'] / 1e9:.1f} GB/s"
    for number, plan in enumerate(document["plans"], 1):
        bound = f"plan {number} reads {plan['weight_bytes_per_token'] / 1e6:.0f} MB of weights a token:"
        bound += f" at most {plan['tokens_per_second_bound']:.1f} tokens/s at batch 1"
        yield bound + (f", of which {plan['bound_reached']:.0%} is reached" if plan["bound_reached"] else "")
    for entry in document.get("ratios", ()):
        yield f"plan 2 / plan 1 with {entry['concurrency']} at once: {entry['ratio']:.3f}"
