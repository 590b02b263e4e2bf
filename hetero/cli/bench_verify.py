"""`hetero bench verify`: what it saves that early blocks draft and later ones verify, and that no token changes."""

from contextlib import ExitStack, nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hetero.cli import options
from hetero.cli.describe import plan_line
from hetero.cli.output import only_results_on_stdout, out, print_json, status, table
from hetero.cli.running import read_settings, running

if TYPE_CHECKING:
    from hetero.bench.verify import Identity, VerifyRate
    from hetero.runtime import Runtime

#: Which of the runtimes drafts.
_DRAFTING = 1

Text = Annotated[Path, typer.Option("--text", help="Plain text from which prompts are cut.", exists=True)]
Concurrency = Annotated[list[int] | None, typer.Option("--concurrency", help="Requests at once. None: 1, 2, 4, 8, 16.")]
PromptTokens = Annotated[int, typer.Option("--prompt-tokens", min=1, help="Tokens of each prompt.")]
Tokens = Annotated[int, typer.Option("--tokens", min=2, help="Tokens of each answer.")]
Rounds = Annotated[int, typer.Option("--rounds", min=1, help="How often each is measured; the median counts.")]
Mode = Annotated[
    str, typer.Option("--mode", help="verify; or skip, release, which take the exit at its word, as calibrated.")
]
Same = Annotated[int, typer.Option("--same", min=0, help="Prompts whose tokens are compared; 0: none.")]


def verify(
    model: options.Model,
    text: Text,
    plan: options.Plan = None,
    draft_depth: options.DraftDepth = None,
    mode: Mode = "verify",
    precision: options.Precision = None,
    concurrency: Concurrency = None,
    prompt_tokens: PromptTokens = 32,
    tokens: Tokens = 96,
    rounds: Rounds = 3,
    same: Same = 100,
    address: options.Address = None,
    config: options.Config = None,
    as_json: options.Json = False,
) -> None:
    """Tokens per second with drafts against full depth, in turns, and whether all tokens are the same."""
    from hetero.bench.decode import Load
    from hetero.bench.verify import compare_tokens, measure_verify, text_prompts

    at_once = concurrency or [1, 2, 4, 8, 16]
    loads = [Load(count, prompt_tokens, tokens) for count in at_once]
    flags: dict[str, object] = {
        "precision": precision,
        "context": prompt_tokens + tokens,
        "max_sequences": max(16, *at_once),
        "address": address,
        "plan": plan,
    }
    wished = [flags | {"exits": "off"}, flags | {"exits": mode, "draft_depth": draft_depth}]
    with only_results_on_stdout() if as_json else nullcontext(), ExitStack() as stack:
        settings = [read_settings(config, each) for each in wished]
        runtimes = [stack.enter_context(running(model, each)) for each in settings]
        with status() as tell:
            prompts = text_prompts(runtimes[0], text.read_text(encoding="utf-8"), prompt_tokens, max(same, 32))
            rates = measure_verify(runtimes, prompts, loads, rounds, tell)
            found = compare_tokens(runtimes[0], runtimes[1], prompts[:same], tokens, tell) if same else None
        if as_json:
            print_json(_document(runtimes, rates, found))
        else:
            _show(runtimes, rates, found)


def _document(
    runtimes: "list[Runtime]", rates: "list[list[VerifyRate]]", found: "Identity | None"
) -> dict[str, object]:
    runs = [
        {"plan": plan_line(runtime.plan), "drafts": number == _DRAFTING, "rates": [asdict(rate) for rate in rated]}
        for number, (runtime, rated) in enumerate(zip(runtimes, rates, strict=True))
    ]
    return {"runs": runs, "same_tokens": asdict(found) if found else None}


def _show(runtimes: "list[Runtime]", rates: "list[list[VerifyRate]]", found: "Identity | None") -> None:
    names = ("full depth", "drafts")
    out().print(f"plan: {plan_line(runtimes[0].plan)}", markup=False)
    made = table(">at once", "", ">tokens/s", ">of full depth", ">held", ">tokens a pass", "each round")
    for load, full in enumerate(rates[0]):
        for name, rated in zip(names, rates, strict=True):
            made.add_row(*_row(name, rated[load], full.tokens_per_second))
    out().print()
    out().print(made)
    if found:
        out().print(
            f"\nwith drafts {found.greedy_same} of {found.greedy} greedy completions and {found.sampled_same} of"
            f" {found.sampled} sampled ones between them have full depth's tokens",
            markup=False,
        )


def _row(name: str, rate: "VerifyRate", full: float) -> tuple[str, ...]:
    return (
        str(rate.concurrency),
        name,
        f"{rate.tokens_per_second:.1f}",
        f"{rate.tokens_per_second / full:.3f}",
        f"{rate.accepted / rate.drafted:.0%} of {rate.drafted}" if rate.drafted else "",
        f"{rate.tokens_per_verification:.2f}" if rate.tokens_per_verification else "",
        " ".join(f"{each:.1f}" for each in rate.rounds),
    )
