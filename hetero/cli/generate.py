"""`hetero generate`: one completion. Streams to a person, prints one document to a machine."""

import sys
from contextlib import nullcontext
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from hetero.cli import options
from hetero.cli.describe import completion_document, plan_line
from hetero.cli.output import note, only_results_on_stdout, print_json
from hetero.cli.running import check_early, read_settings, running
from hetero.config import Settings
from hetero.errors import InvalidRequestError
from hetero.types import Completion, SamplingParams

if TYPE_CHECKING:
    from hetero.profiling.runs import RunReport
    from hetero.runtime import Runtime

Prompt = Annotated[str, typer.Option("--prompt", "-p", help="The text to continue; `-` reads it from stdin.")]


def generate(
    model: options.Model,
    prompt: Prompt,
    plan: options.Plan = None,
    precision: options.Precision = None,
    max_tokens: options.MaxTokens = 128,
    temperature: options.Temperature = 0.0,
    top_k: options.TopK = 0,
    top_p: options.TopP = 1.0,
    min_p: options.MinP = 0.0,
    repetition_penalty: options.RepetitionPenalty = 1.0,
    seed: options.Seed = None,
    stop: options.Stop = None,
    logprobs: options.LogProbs = None,
    context: options.Context = None,
    exits: options.Exits = None,
    draft_depth: options.DraftDepth = None,
    address: options.Address = None,
    config: options.Config = None,
    as_json: options.Json = False,
) -> None:
    """Continue a text."""
    sampling = SamplingParams(
        max_tokens, temperature, top_k, top_p, min_p, repetition_penalty, seed, logprobs, tuple(stop or ())
    )
    text = read_prompt(prompt)
    flags = {"plan": plan, "precision": precision, "context": context, "address": address}
    flags |= {"exits": exits, "draft_depth": draft_depth}
    settings = read_settings(config, flags)
    check_early(model, sampling)
    with only_results_on_stdout() if as_json else nullcontext(), running(model, settings) as runtime:
        if as_json:
            completion = runtime.generate(text, sampling)
            run = _report(runtime, completion, settings)
            print_json(completion_document(completion) | {"run": asdict(run)})
        else:
            _report(runtime, _stream(runtime, text, sampling), settings)


def read_prompt(prompt: str) -> str:
    """The prompt itself, or all of stdin for `-`. Raises InvalidRequestError where that is not UTF-8 or empty."""
    if prompt == "-":
        try:
            prompt = sys.stdin.buffer.read().decode("utf-8")
        except UnicodeDecodeError:
            raise InvalidRequestError("the prompt on stdin is not UTF-8; convert it first") from None
    if not prompt:
        raise InvalidRequestError("the prompt is empty; give some text after --prompt")
    return prompt


def _report(runtime: "Runtime", completion: Completion, settings: Settings) -> "RunReport":
    """What each stage computed for the one request that there was, against what was predicted; kept for `plan`."""
    from hetero.models.config_reader import read_config
    from hetero.models.source import resolve
    from hetero.profiling.runs import report_run
    from placement import Traffic

    folder = resolve(runtime.model)
    traffic = Traffic(completion.prompt_tokens, completion.completion_tokens, chunk_tokens=settings.max_batch_tokens)
    seconds = runtime.stats().stage_seconds
    return report_run(folder, read_config(folder), runtime.devices(), runtime.plan, traffic, seconds, settings.cache)


def _stream(runtime: "Runtime", text: str, sampling: SamplingParams) -> Completion:
    if sys.stdout.isatty():
        note().print(plan_line(runtime.plan), style="dim", markup=False)
        print(text, end="", flush=True)
    with runtime.stream(text, sampling) as stream:
        for chunk in stream:
            print(chunk.text, end="", flush=True)
        print(flush=True)
        completion = stream.result()
        if sys.stderr.isatty():
            note().print(summary_line(completion), style="dim", markup=False)
        return completion


def summary_line(completion: Completion) -> str:
    """Counts and times of a completion on one line."""
    timings = completion.timings
    return (
        f"{completion.prompt_tokens} + {completion.completion_tokens} tokens ({completion.finish_reason}),"
        f" first after {timings.ttft_seconds * 1000:.0f} ms, {timings.tokens_per_second:.1f} tokens/s"
        f"{_depths(completion.depths)}"
    )


def _depths(depths: tuple[int, ...]) -> str:
    """How many tokens were first said after how many blocks; nothing where no exit was there."""
    counts = ", ".join(f"{depths.count(depth)} after {depth}" for depth in sorted(set(depths)))
    return f"; said by blocks: {counts}" if depths else ""
