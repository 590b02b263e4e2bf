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

Text = Annotated[Path, typer.Option("--text", help="Plain text from which prompts are cut.", exists=True)]
Versus = Annotated[str | None, typer.Option("--vs", help="A second plan, in several stages: the first one drafts.")]
Concurrency = Annotated[list[int] | None, typer.Option("--concurrency", help="Requests at once. None: 1, 2, 4, 8, 16.")]
PromptTokens = Annotated[int, typer.Option("--prompt-tokens", min=1, help="Tokens of each prompt.")]
Tokens = Annotated[int, typer.Option("--tokens", min=2, help="Tokens of each answer.")]
Rounds = Annotated[int, typer.Option("--rounds", min=1, help="How often each is measured; the median counts.")]
Same = Annotated[int, typer.Option("--same", min=0, help="Prompts whose tokens are compared; 0: none.")]


def verify(
    model: options.Model,
    text: Text,
    plan: options.Plan = None,
    draft_depth: options.DraftDepth = None,
    versus: Versus = None,
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
        "max_sequences": max(at_once),
        "address": address,
        "plan": plan,
    }
    drafting = {"exits": "verify", "draft_depth": draft_depth}
    wished = [flags | {"exits": "off"}, flags | drafting]
    if versus:
        wished += [each | {"plan": versus} for each in (flags | {"exits": "off"}, flags | {"exits": "verify"})]
    with only_results_on_stdout() if as_json else nullcontext(), ExitStack() as stack:
        settings = [read_settings(config, each) for each in wished]
        runtimes = [stack.enter_context(running(model, each)) for each in settings]
        with status() as tell:
            prompts = text_prompts(runtimes[0], text.read_text(encoding="utf-8"), prompt_tokens, max(same, 32))
            rates = measure_verify(runtimes, prompts, loads, rounds, tell)
            found = [compare_tokens(runtimes[0], each, prompts[:same], tokens, tell) for each in runtimes[1::2] if same]
        if as_json:
            print_json(_document(runtimes, rates, found))
        else:
            _show(runtimes, rates, found)


def _document(runtimes: "list[Runtime]", rates: "list[list[VerifyRate]]", found: "list[Identity]") -> dict[str, object]:
    names = [plan_line(runtime.plan) for runtime in runtimes]
    return {
        "runs": [
            {"plan": name, "drafts": bool(number % 2), "rates": [asdict(rate) for rate in rated]}
            for number, (name, rated) in enumerate(zip(names, rates, strict=True))
        ],
        "same_tokens": [asdict(each) for each in found],
    }


def _show(runtimes: "list[Runtime]", rates: "list[list[VerifyRate]]", found: "list[Identity]") -> None:
    made = table(">at once", "plan", "drafts", ">tokens/s", ">of full depth", ">held", ">tokens a pass", "each round")
    for number, runtime in enumerate(runtimes[::2], 1):
        out().print(f"plan {number}: {plan_line(runtime.plan)}", markup=False)
    for load in range(len(rates[0])):
        best = max(full[load].tokens_per_second for full in rates[::2])
        for number, rated in enumerate(rates):
            made.add_row(*_row(number, rated[load], best))
    out().print()
    out().print(made)
    for number, each in enumerate(found, 1):
        out().print(
            f"plan {number} with drafts: {each.greedy_same} of {each.greedy} greedy completions and {each.sampled_same}"
            f" of {each.sampled} sampled ones between them have full depth's tokens",
            markup=False,
        )


def _row(number: int, rate: "VerifyRate", best: float) -> tuple[str, ...]:
    drafts = bool(number % 2)
    return (
        str(rate.concurrency),
        str(number // 2 + 1),
        "yes" if drafts else "no",
        f"{rate.tokens_per_second:.1f}",
        f"{rate.tokens_per_second / best:.3f}",
        f"{rate.accepted / rate.drafted:.0%} of {rate.drafted}" if rate.drafted else "",
        f"{rate.tokens_per_verification:.2f}" if rate.tokens_per_verification else "",
        " ".join(f"{each:.1f}" for each in rate.rounds),
    )
