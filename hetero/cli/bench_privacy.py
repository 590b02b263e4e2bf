"""`hetero bench privacy`: what a policy costs a request, and what its absence does."""

from contextlib import nullcontext
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from hetero.cli import options
from hetero.cli.output import only_results_on_stdout, out, print_json, status, table

if TYPE_CHECKING:
    from hetero.bench.privacy import PrivacyCosts

Model = Annotated[str, typer.Argument(help="A decoder: a folder, a hub id, or `tiny`.", metavar="[MODEL]")]
Rounds = Annotated[int, typer.Option("--rounds", min=10, help="Requests of each kind.")]


def privacy(model: Model = "tiny", rounds: Rounds = 200, as_json: options.Json = False) -> None:
    """A decision, a credential, a durable charge; requests without a policy, under one, and under DP, in turn."""
    from hetero.bench.privacy import measure_privacy

    with only_results_on_stdout() if as_json else nullcontext(), status() as tell:
        costs = measure_privacy(model, rounds, tell)
    if as_json:
        print_json({**asdict(costs), "off_share": costs.off_share})
    else:
        _show(costs)


def _show(costs: "PrivacyCosts") -> None:
    made = table("what", ">p50", ">p99")
    for name, spread in (
        ("decision", costs.decision),
        ("credential (API key)", costs.credential),
        ("admission: decided and charged, durably", costs.admission),
        ("release: stored, durably, and signed", costs.release),
        ("request without a policy", costs.request_without_policy),
        ("request under a policy, in the clear", costs.request_under_policy),
        ("request under a policy, output-dp", costs.private_request),
    ):
        made.add_row(name, f"{spread.p50_seconds * 1000:.3f} ms", f"{spread.p99_seconds * 1000:.3f} ms")
    out().print(made)
    added = f"{costs.off_added_seconds * 1e6:.2f} µs, {costs.off_share:.4%} of its p50"
    out().print(f"\nwithout a policy the privacy layer adds {added} to a request", markup=False)
