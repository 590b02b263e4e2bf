"""`hetero bench hops`: what it costs to hand a hidden state from stage to stage. Starts stages without an engine."""

from contextlib import closing, nullcontext
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from hetero.backends.base import KvSpec
from hetero.cli import options
from hetero.cli.describe import plan_document, plan_line
from hetero.cli.output import only_results_on_stdout, out, print_json, starting, table
from hetero.cli.running import read_settings
from hetero.config import Settings
from hetero.models.config import DecoderConfig
from hetero.progress import Progress
from placement import Plan

if TYPE_CHECKING:
    from hetero.bench.hops import HopReport

Model = Annotated[str, typer.Argument(help="A folder, a hub id, or `tiny`.", metavar="[MODEL]")]
Steps = Annotated[int, typer.Option("--steps", min=1, help="How many tokens go through.")]
_CONTEXT_TOKENS = 128


def hops(
    model: Model = "tiny",
    plan: options.Plan = None,
    precision: options.Precision = None,
    steps: Steps = 300,
    address: options.Address = None,
    config: options.Config = None,
    as_json: options.Json = False,
) -> None:
    """The time from the end of one stage's compute to the start of the next one's. Without a plan: two halves."""
    settings = read_settings(config, {"plan": plan, "precision": precision, "address": address})
    with only_results_on_stdout() if as_json else nullcontext():
        made, report = _measure(model, settings, steps)
        if as_json:
            print_json({"plan": plan_document(made), **asdict(report)})
        else:
            _show(made, report)


def _measure(model: str, settings: Settings, steps: int) -> "tuple[Plan, HopReport]":
    from hetero.bench.hops import measure_hops
    from hetero.cluster import connect, discover
    from hetero.models.config_reader import read_config
    from hetero.models.source import resolve
    from hetero.pipeline.actor import ActorPipeline
    from hetero.planning import plan_model

    folder = resolve(model)
    shape = read_config(folder)
    text = settings.plan or _two_halves(shape.block_count)
    context = min(_CONTEXT_TOKENS, shape.max_context)
    kv = KvSpec(-(-context // 32), 32, 1, context) if isinstance(shape, DecoderConfig) else None
    with starting() as tell, connect(settings.address) as cluster:
        tell(Progress("devices", "looking for devices"))
        made = plan_model(folder, shape, discover(cluster), text, precision=settings.precision)

        def told(stage: int, what: str) -> None:
            tell(Progress("stage", what, stage, len(made.stages)))

        with closing(ActorPipeline(folder, made, kv, threads=settings.threads, on_progress=told)) as pipeline:
            tell(Progress("engine", "measuring"))
            return made, measure_hops(pipeline, made, kv, steps)


def _two_halves(blocks: int) -> str:
    half = max(1, blocks // 2)
    return f"cpu:0-{half},cpu:{half}-{blocks}" if blocks > 1 else "cpu:0-1"


def _show(plan: Plan, report: "HopReport") -> None:
    made = table("from", "to", ">p50", ">p95")
    for hop in report.hops:
        made.add_row(hop.source, hop.target, f"{hop.p50_seconds * 1000:.3f} ms", f"{hop.p95_seconds * 1000:.3f} ms")
    computed = ", ".join(f"{seconds * 1000:.2f} ms" for seconds in report.stage_seconds)
    out().print(f"{plan_line(plan)}\n", markup=False)
    out().print(made)
    out().print(
        f"\neach stage computes {computed}; a whole step takes {report.step_seconds * 1000:.2f} ms", markup=False
    )
    out().print(f"medians of {report.steps} steps, one token each", markup=False)
