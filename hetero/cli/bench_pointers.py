"""`hetero bench pointers`: whether depth follows difficulty where difficulty is known."""

import os
from dataclasses import asdict
from typing import Annotated

import typer

from hetero.cli import options
from hetero.cli.output import out, print_json, table, work_progress

Steps = Annotated[int | None, typer.Option("--steps", min=1, help="Training steps; None: what the task needs.")]
Seed = Annotated[int, typer.Option("--seed", min=0, help="The same seed gives the same network.")]


def pointers(steps: Steps = None, seed: Seed = 0, as_json: options.Json = False) -> None:
    """Train a small encoder to follow k pointers, about a minute, and show how deep it goes for each k."""
    from hetero.pipeline.serving import tune_threads

    # The matrices are small: a second thread would wait for the first.
    tune_threads(min(1, len(os.sched_getaffinity(0))))
    from hetero.bench.pointer_task import Task, depths_by_hops, train_pointers

    task = Task() if steps is None else Task(steps=steps)
    with work_progress("training") as tell:
        network = train_pointers(task, seed, tell)
    found = depths_by_hops(task, network)
    if as_json:
        print_json({"task": asdict(task), "depths": [asdict(each) for each in found]})
        return
    made = table(">hops", ">right", ">blocks run", ">blocks of the oracle")
    for each in found:
        made.add_row(str(each.hops), f"{each.accuracy:.1%}", f"{each.policy_depth:.2f}", f"{each.oracle_depth:.2f}")
    out().print(made)
