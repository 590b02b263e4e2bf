"""`hetero bench he`, `he-load` and `he-mutations`: what encryption costs, whom it disturbs, what hostile bytes do."""

from contextlib import nullcontext
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from hetero.cli import options
from hetero.cli.output import only_results_on_stdout, out, print_json, status, table, work_progress

if TYPE_CHECKING:
    from hetero.bench.he import HeReport

Parameters = Annotated[str, typer.Option("--parameters", help="A named parameter set.")]
Rounds = Annotated[int, typer.Option("--rounds", min=1, help="How often each is measured; the median counts.")]
Compare = Annotated[bool, typer.Option("--compare/--no-compare", help="Measure TenSEAL's own product as well.")]
Vectors = Annotated[int, typer.Option("--vectors", min=0, help="The worst error over so many vectors with extremes.")]
Count = Annotated[int, typer.Option("--count", min=1, help="How many mutated blobs to send.")]
Seed = Annotated[int, typer.Option("--seed", help="The same seed mutates alike.")]
Seconds = Annotated[float, typer.Option("--seconds", min=1, help="How long each of the three parts takes.")]


def he(
    parameters: Parameters = "ckks-8192-1",
    rounds: Rounds = 5,
    compare: Compare = True,
    vectors: Vectors = 0,
    as_json: options.Json = False,
) -> None:
    """Encrypted layers on one core: time, error, sizes of keys and ciphertexts, against TenSEAL's mm."""
    from hetero.bench.he import run

    with only_results_on_stdout() if as_json else nullcontext():
        with status() as tell:
            report = run(parameters, rounds, compare, vectors, tell)
        if as_json:
            print_json([{**asdict(row), "ratio": row.ratio} for row in report.layers])
        else:
            _show(report)


def he_load(seconds: Seconds = 10.0, as_json: options.Json = False) -> None:
    """Plain requests' p99 and the event loop's stalls, alone, beside another's worker, and beside encrypted work."""
    from hetero.bench.he_load import run

    with only_results_on_stdout() if as_json else nullcontext():
        with status() as tell:
            report = run(seconds, tell)
        if as_json:
            print_json(asdict(report))
            return
        made = table("beside", ">requests", ">p50", ">p99", ">longest stall")
        for part in report.parts:
            times = (part.p50_seconds, part.p99_seconds, part.stall_seconds)
            made.add_row(part.name, str(part.requests), *(f"{1e3 * each:.2f} ms" for each in times))
        out().print(made)
        out().print(
            f"\n{report.encrypted} ciphertexts were answered meanwhile; p99 beside encrypted work is"
            f" {report.growth:.2f} times that beside the same work of another",
            markup=False,
        )


def he_mutations(count: Count = 100_000, seed: Seed = 0, as_json: options.Json = False) -> None:
    """Send mutated contexts, keys and ciphertexts to a server, and say how each kind was answered."""
    from hetero.bench.he_mutations import run

    with only_results_on_stdout() if as_json else nullcontext():
        with work_progress("mutating") as tell:
            report = run(count, seed, tell)
        if as_json:
            print_json(asdict(report))
            return
        made = table("kind", ">sent", ">refused", ">computed", ">anything else")
        for kind in report.kinds:
            made.add_row(kind.name, str(kind.sent), str(kind.refused), str(kind.computed), str(kind.others))
        out().print(made)
        out().print(
            f"\nthe worker ended {report.restarts} times and was started again; at most"
            f" {report.peak_bytes / 2**20:.0f} MiB resident, {report.memory_bytes / 2**20:.0f} MiB allowed; plain"
            f" health checks: {report.healthy} answered, {report.unhealthy} not",
            markup=False,
        )


def _show(report: "HeReport") -> None:
    made = table(
        "layer", ">one core", ">mm", ">ratio", ">error", ">vectors", ">rotations", ">keys", ">sent", ">answered"
    )
    for row in report.layers:
        cost = row.cost
        made.add_row(
            cost.name,
            f"{1e3 * cost.seconds:.1f} ms",
            f"{1e3 * row.tenseal_seconds:.0f} ms" if row.tenseal_seconds else "",
            f"{row.ratio:.0f}" if row.ratio else "",
            f"{row.worst_error or cost.largest_error:.0e}",
            str(cost.vectors),
            str(cost.rotations),
            f"{cost.key_bytes / 1e6:.1f} MB",
            f"{cost.sent_bytes / 1e3:.0f} kB",
            f"{cost.answered_bytes / 1e3:.0f} kB",
        )
    out().print(made)
