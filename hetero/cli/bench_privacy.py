"""`hetero bench privacy`: what a policy costs a request, and what its absence does."""

from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hetero.cli import options
from hetero.cli.output import only_results_on_stdout, out, print_json, status, table

if TYPE_CHECKING:
    from hetero.bench.privacy import PrivacyCosts
    from privacy.ledger.spending_costs import SpendingCosts

Model = Annotated[str, typer.Argument(help="A decoder: a folder, a hub id, or `tiny`.", metavar="[MODEL]")]
Rounds = Annotated[int, typer.Option("--rounds", min=10, help="Requests of each kind.")]
OtherCheckout = Annotated[
    Path | None,
    typer.Option(
        "--against",
        help="A checkout of another version: only compare what requests without a policy run.",
        exists=True,
        file_okay=False,
    ),
]


def privacy(
    model: Model = "tiny", rounds: Rounds = 200, against: OtherCheckout = None, as_json: options.Json = False
) -> None:
    """A decision, a credential, a durable charge; requests without a policy, under one, and under DP, in turn."""
    if against is not None:
        _against(model, against, rounds, as_json)
        return
    from hetero.bench.privacy import measure_privacy

    with only_results_on_stdout() if as_json else nullcontext(), status() as tell:
        costs = measure_privacy(model, rounds, tell)
    if as_json:
        print_json({**asdict(costs), "off_share": costs.off_share})
    else:
        _show(costs)


def _against(model: str, other: Path, rounds: int, as_json: bool) -> None:
    from hetero.bench.off_against import count_against

    with only_results_on_stdout() if as_json else nullcontext(), status() as tell:
        found = count_against(model, other, rounds, tell)
    there, here = (sum(lines.values()) for lines in (found.other, found.here))
    if as_json:
        print_json({"there": there, "here": here, "files": found.changed()})
        return
    made = table("lines of our own Python a request", ">there", ">here")
    for file, (before, after) in found.changed().items():
        made.add_row(file, f"{before:,}", f"{after:,}")
    made.add_row("all files", f"{there:,}", f"{here:,}")
    out().print(made)


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
    out().print()
    _show_spending(costs.spending)
    added = f"{costs.off_added_seconds * 1e6:.2f} µs, {costs.off_share:.4%} of its p50"
    out().print(f"\nwithout a policy the privacy layer adds {added} to a request", markup=False)


def _show_spending(spending: "SpendingCosts") -> None:
    made = table("the ledger alone", ">p50, or a rate")
    for name, text in (
        ("reserve, durable", f"{spending.reserve_p50_ms:.3f} ms"),
        ("reserve from a lease", f"{spending.leased_reserve_p50_ms:.3f} ms"),
        ("store, durable", f"{spending.store_p50_ms:.3f} ms"),
        ("look up a stored answer", f"{spending.replay_p50_ms:.3f} ms"),
        ("requests/s, 1 client", f"{spending.requests_per_second_1_client:,.0f}"),
        ("requests/s, 64 clients", f"{spending.requests_per_second_64_clients:,.0f}"),
        ("requests/s, 64 clients, with leases", f"{spending.leased_requests_per_second_64_clients:,.0f}"),
    ):
        made.add_row(name, text)
    out().print(made)
