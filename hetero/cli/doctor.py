"""`hetero doctor`: what is installed, which devices work, what is missing and how to get it."""

from contextlib import nullcontext
from dataclasses import asdict
from typing import TYPE_CHECKING

import typer
from rich.markup import escape

from hetero.cli import options
from hetero.cli.output import note, only_results_on_stdout, out, print_json, table

if TYPE_CHECKING:
    from hetero.cli import checks


def doctor(as_json: options.Json = False) -> None:
    """Examine this machine: compile and run one block on every device. Exit code 1 where something needed fails."""
    from hetero.cli import checks

    with only_results_on_stdout() if as_json else nullcontext():
        found = checks.packages()
        if not as_json:
            _show_machine(checks.machine())
            _show_packages(found)
            note().print("compiling one block for every device ...", style="dim")
        tried = checks.trials()
        said = checks.advice(found, tried)
        healthy = not any(package.needed and package.version is None for package in found) and any(
            not trial.error for trial in tried
        )
        if as_json:
            document = {"machine": checks.machine(), "healthy": healthy, "advice": list(said)}
            document |= {"packages": [asdict(package) for package in found], "devices": [asdict(t) for t in tried]}
            print_json(document)
        else:
            _show_trials(tried)
            _show_advice(said)
    if not healthy:
        raise typer.Exit(1)


def _show_machine(machine: dict[str, str]) -> None:
    out().print("\n".join(f"{name}: {value}" for name, value in machine.items()) + "\n", markup=False)


def _show_packages(found: "tuple[checks.Package, ...]") -> None:
    made = table("package", "version", "for")
    for package in found:
        made.add_row(package.name, package.version or "[red]missing[/red]", escape(package.purpose))
    out().print(made)
    out().print()


def _show_trials(tried: "tuple[checks.Trial, ...]") -> None:
    made = table("device", "engine", "precision", ">compile", ">one token", "result")
    for trial in tried:
        name = f"{trial.device} (emulated)" if trial.emulated else trial.device
        result = "[red]fails[/red]" if trial.error else "[green]works[/green]"
        times = ("", "") if trial.error else (f"{trial.compile_seconds:.2f} s", f"{trial.run_seconds * 1000:.1f} ms")
        made.add_row(name, trial.engine, trial.precision, *times, result)
    out().print(made)


def _show_advice(said: tuple[str, ...]) -> None:
    out().print("\n" + ("\n".join(said) or "nothing is missing"), markup=False)
