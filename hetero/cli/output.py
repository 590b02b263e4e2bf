"""What commands print: tables for people, one JSON document for machines, a progress display while starting.

Results go to stdout and everything else to stderr, which alone draws; neither draws where it is no terminal.
"""

import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table

from hetero.progress import Progress as Step
from hetero.progress import ProgressCallback, ignore

#: Steps of a stage's bar: started, loading, ready.
_STAGE_STEPS = 3


#: Without a terminal nothing wraps: lines are for other programs.
_UNWRAPPED_COLUMNS = 1000


def out() -> Console:
    """The console of results. Made anew each time, so that a redirected stdout is honoured."""
    return Console(highlight=False, width=None if sys.stdout.isatty() else _UNWRAPPED_COLUMNS)


def note() -> Console:
    """The console of everything that is not the result."""
    return Console(stderr=True, highlight=False, width=None if sys.stderr.isatty() else _UNWRAPPED_COLUMNS)


def print_json(document: object) -> None:
    """Print one JSON document, and nothing else, on stdout: on one line, unless a person looks at it."""
    print(json.dumps(document, ensure_ascii=False, indent=2 if sys.stdout.isatty() else None), flush=True)


@contextmanager
def only_results_on_stdout() -> Iterator[None]:
    """Send what libraries below Python write to stdout to stderr: a result must be readable by a machine."""
    sys.stdout.flush()
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as results:
        os.dup2(2, 1)
        own, sys.stdout = sys.stdout, results
        try:
            yield
        finally:
            sys.stdout = own
            os.dup2(results.fileno(), 1)


def table(*columns: str) -> Table:
    """An empty table; columns whose name begins with `>` are set to the right."""
    made = Table(header_style="bold", box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for column in columns:
        made.add_column(column.lstrip(">"), justify="right" if column.startswith(">") else "left", overflow="fold")
    return made


@contextmanager
def starting() -> Iterator[ProgressCallback]:
    """While a runtime starts: a line for the whole and a bar a stage on a terminal, nothing elsewhere."""
    if not sys.stderr.isatty():
        yield ignore
        return
    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(24), TimeElapsedColumn())
    with Progress(*columns, console=note(), transient=True) as bars:
        yield _Bars(bars).show


@contextmanager
def status() -> Iterator[Callable[[str], None]]:
    """A line on a terminal that says what is being done now."""
    if not sys.stderr.isatty():
        yield lambda text: None
        return
    with note().status("") as line:
        yield lambda text: line.update(escape(text))


@contextmanager
def file_progress(title: str) -> Iterator[Callable[[int, int], None]]:
    """A bar on a terminal for so many of so many files."""
    if not sys.stderr.isatty():
        yield lambda done, whole: None
        return
    columns = (TextColumn("{task.description}"), BarColumn(24), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=note(), transient=True) as bars:
        task = bars.add_task(title, total=None)
        yield lambda done, whole: bars.update(task, completed=done, total=whole)


@contextmanager
def work_progress(title: str) -> Iterator[Callable[[int, int, str], None]]:
    """A bar on a terminal for so many of so many things to do, and what is done now."""
    if not sys.stderr.isatty():
        yield lambda done, whole, text: None
        return
    columns = (TextColumn("{task.description}"), BarColumn(24), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, TextColumn("{task.fields[now]}"), console=note(), transient=True) as bars:
        task = bars.add_task(title, total=None, now="")
        yield lambda done, whole, text: bars.update(task, completed=done, total=whole or None, now=escape(text))


class _Bars:
    """Draws the steps of a start."""

    def __init__(self, bars: Progress) -> None:
        self._bars = bars
        self._whole = bars.add_task("starting", total=None)
        self._stages: dict[int, TaskID] = {}

    def show(self, step: Step) -> None:
        if step.stage is None:
            text = "starting the stages" if step.phase == "plan" else step.text
            self._bars.update(self._whole, description=escape(text))
            return
        text = escape(f"stage {step.stage}: {step.text}")
        if step.stage not in self._stages:
            self._stages[step.stage] = self._bars.add_task(text, total=_STAGE_STEPS)
        self._bars.update(self._stages[step.stage], description=text, advance=1)
