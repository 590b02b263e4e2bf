"""The `hetero` command: which subcommands there are, and how each ends. Imports no engine until one is needed."""

import os
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress
from types import FrameType
from typing import Annotated, NoReturn

import typer

from hetero import __version__
from hetero.cli import failures
from hetero.cli.bench import app as bench
from hetero.cli.calibrate import calibrate
from hetero.cli.chat import run as chat
from hetero.cli.devices import devices
from hetero.cli.doctor import doctor
from hetero.cli.encode import classify, embed
from hetero.cli.generate import generate
from hetero.cli.plan import plan
from hetero.cli.privacy import app as privacy
from hetero.cli.private import app as private
from hetero.cli.profile import profile
from hetero.cli.serve import serve
from hetero.cli.train_exits import train_exits
from hetero.cli.train_head import train_head

app = typer.Typer(
    name="hetero",
    help="Serve one transformer on whatever a site owns: its layers on CPUs, GPUs and NPUs.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command()(devices)
app.command()(profile)
app.command()(plan)
app.command()(generate)
app.command("run")(chat)
app.command()(serve)
app.command()(train_exits)
app.command()(calibrate)
app.command()(embed)
app.command()(classify)
app.command()(train_head)
app.add_typer(bench, name="bench")
app.add_typer(privacy, name="privacy")
app.add_typer(private, name="private")
app.command()(doctor)


def _show_version(asked: bool) -> None:
    if asked:
        print(f"hetero {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Options of the command as a whole."""


def run(arguments: Sequence[str] | None = None) -> int:
    """Run one command and give its exit code. An expected failure is one sentence on stderr."""
    try:
        code = int(app(arguments, prog_name="hetero", standalone_mode=False) or 0)
        sys.stdout.flush()
        return code
    except KeyboardInterrupt:
        return failures.INTERRUPTED
    except BrokenPipeError:
        # Who read the output went away; nothing more may be written to it, not even when Python ends.
        sys.stdout = None
        return failures.LOST
    except Exception as error:
        if not failures.is_expected(error):
            raise
        if sentence := failures.sentence(error):
            with suppress(OSError):  # stderr may be what is full; the exit code tells still
                print(f"hetero: {sentence}", file=sys.stderr)
        if isinstance(error, OSError):
            _settle_stdout()
        return failures.exit_code(error)


def _settle_stdout() -> None:
    """Write what is left, or nothing any more where that fails: Python would try again at its end, and complain."""
    try:
        sys.stdout.flush()
    except OSError:
        sys.stdout = None


def main() -> NoReturn:
    """The entry point of the `hetero` script."""
    # The server's threads run before Ray starts its processes, which need none of them.
    os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
    # What of gRPC's failures matters comes as an error; its own log would stand beside the one sentence.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    _open_standard_files()
    signal.signal(signal.SIGTERM, _terminate)
    sys.exit(run())


def _open_standard_files() -> None:
    """Let a closed stdin, stdout or stderr lead nowhere: else the next file that is opened would stand in its place."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            nowhere = os.open(os.devnull, os.O_RDWR)
            os.dup2(nowhere, number)
            setattr(sys, name, os.fdopen(number, "w" if number else "r", closefd=False))


def _terminate(number: int, frame: FrameType | None) -> NoReturn:
    """SIGTERM unwinds the command, so that its `with` blocks close what they opened."""
    sys.exit(128 + number)
