"""How the command line is tried: in this process where nothing is started, else as a user starts it."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from hetero.cli.main import run
from hetero.cluster import Cluster

ROOT = Path(__file__).parents[3]
Done = subprocess.CompletedProcess[str]


@pytest.fixture
def refused(capfd: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Run a command that must be refused with exit code 2, nothing on stdout and one line on stderr: that line."""

    def command(*arguments: str) -> str:
        assert run([str(argument) for argument in arguments]) == 2
        captured = capfd.readouterr()
        assert captured.out == ""
        lines = captured.err.strip().splitlines()
        assert len(lines) == 1, captured.err
        return lines[0]

    return command


@pytest.fixture(scope="session")
def hetero() -> Callable[..., Done]:
    """Run `python -m hetero` in a process of its own."""

    def command(*arguments: object, stdin: str = "", timeout: float = 150, **environment: str) -> Done:
        return subprocess.run(
            [sys.executable, "-m", "hetero", *map(str, arguments)],
            cwd=ROOT,
            env=os.environ | environment,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=timeout,
        )

    return command


@pytest.fixture
def here(ray_cluster: Cluster, capfd: pytest.CaptureFixture[str]) -> Callable[..., Done]:
    """Run `hetero` in this process, on the test run's own Ray: what a command says, without the minute that starting
    Python and Ray for each costs. That commands start and end a Ray of their own is shown by others."""

    def command(*arguments: object) -> Done:
        capfd.readouterr()
        given = [str(argument) for argument in arguments]
        code = run(given)
        return Done(given, code, *capfd.readouterr())

    return command
