"""The examples and the demo run as they stand."""

import contextlib
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

pytestmark = [pytest.mark.ray, pytest.mark.slow]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def run(*command: object, timeout: float = 250, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(part) for part in command],
        cwd=ROOT,
        env=_without_other_clusters() | environment,
        capture_output=True,
        text=True,
        timeout=timeout,
    )


def _without_other_clusters() -> dict[str, str]:
    """The environment without the token and the address of a cluster that this process may be in."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("RAY_AUTH_TOKEN", "RAY_ADDRESS"))}


def test_generate_example_prints_text() -> None:
    done = run(sys.executable, "examples/generate.py", "tiny", "cpu/torch:0-6")
    assert done.returncode == 0, done.stderr
    assert "tokens, " in done.stdout


@pytest.mark.npu
def test_demo_gives_equal_texts_and_leaves_nothing() -> None:
    done = run(sys.executable, "scripts/demo.py")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "the texts are equal" in done.stdout
    assert "of 64 tokens, by the blocks after which each was first said:" in done.stdout
    assert "processes left running: 0" in done.stdout
    assert "npu (emulated)" in done.stdout


def test_ray_job_generates_on_a_cluster_with_token_authentication(tmp_path: Path) -> None:
    """The working directory goes through Ray, to a cluster that asks for a token, and the text comes back.

    Another cluster's job agent may hold Ray's usual port for it: here, one that listens and never answers.
    """
    scripts = Path(sys.executable).parent
    ports = {"GCS_PORT": str(free_port()), "DASHBOARD_PORT": str(free_port())}
    with socket.socket() as taken:
        # Where it is taken already, the case is there without us.
        with contextlib.suppress(OSError):
            taken.bind(("", 52365))
        done = run("bash", "examples/ray_job.sh", "Once upon a time", BIN=str(scripts), HOME=str(tmp_path), **ports)
    assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / ".ray" / "auth_token").is_file()
    assert "succeeded" in done.stdout
