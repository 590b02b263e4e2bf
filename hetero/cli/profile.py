"""`hetero profile`: measure a model on this machine's devices, and keep what was measured for `hetero plan`."""

from collections import defaultdict
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import asdict
from statistics import median
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Table

from hetero.cli import options
from hetero.cli.output import only_results_on_stdout, out, print_json, table, work_progress
from hetero.cli.running import read_settings
from hetero.config import Settings
from hetero.errors import ConfigurationError
from placement.tables import fit_link, make_table

if TYPE_CHECKING:
    from hetero.profiling.request import Outcome, Wish
    from placement.profiles import Profile
    from privacy.he.spec import ModelSpec

Devices = Annotated[list[str] | None, typer.Option("--device", help="Only this device; may be given several times.")]
Engines = Annotated[list[str] | None, typer.Option("--engine", help="Only this engine; may be given several times.")]
Precisions = Annotated[
    list[str] | None, typer.Option("--precision", help="This precision, not the usual one; several: each.")
]
SplitCpu = Annotated[bool, typer.Option("--split-cpu", help="Measure each core of a CPU as a device, too.")]
Budget = Annotated[float, typer.Option("--budget-seconds", min=1, help="About how long to measure.")]
Fresh = Annotated[bool, typer.Option("--fresh", help="Measure again what has been measured before.")]


def profile(
    model: options.Model,
    device: Devices = None,
    engine: Engines = None,
    precision: Precisions = None,
    split_cpu: SplitCpu = False,
    budget_seconds: Budget = 60.0,
    fresh: Fresh = False,
    policy: options.Policy = None,
    heads: options.Heads = None,
    encrypted: options.Encrypted = None,
    context: options.Context = None,
    address: options.Address = None,
    config: options.Config = None,
    as_json: options.Json = False,
) -> None:
    """Measure a model on the devices, and the links between them; a second call goes on where the first ended.

    With --policy layers that it wants on ciphertexts are measured, too, on each CPU.
    """
    from hetero.profiling.request import Wish

    flags = {"context": context, "address": address, "policy": policy, "heads": heads, "encrypted": encrypted}
    settings = read_settings(config, flags)
    asked = (tuple(device or ()), tuple(engine or ()), tuple(precision or ()))
    wish = Wish(*asked, split_cpu, budget_seconds, fresh, settings.cache, _marked(model, settings))
    with only_results_on_stdout() if as_json else nullcontext():
        outcome = measure(model, settings, wish)
        if as_json:
            print_json(
                {"file": str(outcome.path), "left_out": list(outcome.left_out), "profile": asdict(outcome.profile)}
            )
        else:
            show(outcome)


def require_no_encrypted(settings: Settings) -> None:
    """Raise ConfigurationError where layers for ciphertexts are named without the policy that would mark them."""
    if settings.encrypted:
        raise ConfigurationError("--encrypted needs a --policy, which says what runs on ciphertexts")


def _marked(model: str, settings: Settings) -> "tuple[ModelSpec, ...]":
    """The layers that the policy marks, where one is named."""
    if settings.policy is None:
        require_no_encrypted(settings)
        return ()
    from hetero.hybrid import read_marks
    from hetero.models.source import resolve

    return read_marks(settings.policy, resolve(model), settings.heads, settings.encrypted).layers


def measure(model: str, settings: Settings, wish: "Wish") -> "Outcome":
    """Measure on the cluster that the settings name, with a bar on a terminal."""
    from hetero.cluster import connect
    from hetero.limits import choose_context
    from hetero.models.config_reader import read_config
    from hetero.models.source import resolve
    from hetero.profiling.request import measure_wish

    folder = resolve(model)
    shape = read_config(folder)
    context_tokens = choose_context(settings.context, shape.max_context)
    with work_progress("measuring") as tell:
        tell(0, 0, "starting")
        with connect(settings.address) as cluster:
            return measure_wish(cluster, folder, shape, context_tokens, wish, tell)


def show(outcome: "Outcome") -> None:
    """The profile as tables, and where it lies."""
    out().print(_segments_table(outcome.profile))
    out().print()
    out().print(_links_table(outcome.profile))
    for line in _remarks(outcome):
        out().print(line, markup=False)


def _segments_table(profile: "Profile") -> Table:
    made = table("device", "engine", "precision", ">blocks", "phase", ">tokens", ">context", ">median", ">repeats")
    for of in profile.segments:
        row = (of.device, of.engine, of.precision, f"{of.first}-{of.last}", of.phase, str(of.tokens))
        times = (str(of.context_tokens), f"{median(of.seconds) * 1000:.3f} ms", str(len(of.seconds)))
        made.add_row(*(escape(cell) for cell in (*row, *times)))
    return made


def _links_table(profile: "Profile") -> Table:
    """Each link as its fit: a message costs the first figure and a share of the second."""
    made = table("from", "to", ">sizes", ">latency", ">MB/s")
    for (source, target), points in _links(profile).items():
        cost = fit_link(make_table(points, f"the link {source} -> {target}"))
        speed = f"{cost.bytes_per_second / 1e6:,.0f}"
        made.add_row(escape(source), escape(target), str(len(points)), f"{cost.latency_seconds * 1e6:.0f} us", speed)
    return made


def _links(profile: "Profile") -> dict[tuple[str, str], dict[float, tuple[float, ...]]]:
    found: dict[tuple[str, str], dict[float, tuple[float, ...]]] = defaultdict(dict)
    for link in profile.links:
        found[link.source, link.target][link.size_bytes] = link.seconds
    return found


def _remarks(outcome: "Outcome") -> Iterator[str]:
    yield ""
    for both in outcome.profile.contentions:
        yield f"{both.devices[0]} and {both.devices[1]} each take {both.factor:.2f} times as long while both work"
    for time in outcome.profile.encrypted:
        yield (
            f"layer {time.layer[:12]} on ciphertexts on {time.device}: {median(time.seconds) * 1000:.1f} ms,"
            f" {time.sent_bytes / 1e6:.2f} MB there and {time.answered_bytes / 1e6:.2f} MB back"
        )
    for refusal in outcome.profile.refusals:
        yield f"{refusal.device}/{refusal.engine}@{refusal.precision} is refused: {refusal.reason}"
    if outcome.left_out:
        yield f"left to the prior for want of time: {'; '.join(outcome.left_out)}"
        yield "the same command again goes on there; --budget-seconds gives it longer"
    yield f"kept in {outcome.path}"
