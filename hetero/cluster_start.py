"""How a Ray cluster is started or joined: what Ray reads before its import, and what it changes in this process.

Knows neither nodes nor devices; `cluster.py` does.
"""

import os
import secrets
import signal
import sys
import sysconfig
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil

from hetero.errors import ConfigurationError

_OBJECT_STORE_BYTES = 100 * 1024 * 1024


def prepare_environment(joining: bool) -> None:
    """Set what Ray reads when it is imported: a quick and quiet start, and authentication by token.

    A cluster of our own gets a token, for this process and its children alone, where the user has none. A cluster that
    we join decides for itself; a token that is there is shown to it. Where Ray was imported before, it has read its
    mode already, and asks for a token by itself when it starts a cluster.
    """
    os.environ.setdefault("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    # Ray runs actors at niceness 15, behind everything else on the machine; a stage is what the machine is for.
    os.environ.setdefault("RAY_worker_niceness", "0")
    # Ray prints to stdout when a worker dies, which `--json` cannot bear; that a stage was lost is told as an error.
    os.environ.setdefault("RAY_DEDUP_LOGS_SKIP_REGEX", ".")
    if not joining and not _token_is_there():
        os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)
    if "ray" not in sys.modules and _token_is_there():
        os.environ.setdefault("RAY_AUTH_MODE", "token")


def _token_is_there() -> bool:
    named = os.environ.get("RAY_AUTH_TOKEN") or os.environ.get("RAY_AUTH_TOKEN_PATH")
    return bool(named) or (Path.home() / ".ray" / "auth_token").is_file()


def _common_options() -> dict[str, Any]:
    from ray.job_config import JobConfig

    return {
        "namespace": f"hetero-{secrets.token_hex(4)}",
        "log_to_driver": False,
        "logging_level": "ERROR",
        "job_config": JobConfig(_py_driver_sys_path=_code_paths()),
    }


def _code_paths() -> list[str]:
    """Where workers find this package: nowhere special if it is installed or travels with a submitted job."""
    root = Path(__file__).resolve().parents[1]
    installed = {Path(sysconfig.get_path(key)).resolve() for key in ("purelib", "platlib")}
    return [] if root in installed or "RAY_JOB_CONFIG_JSON_ENV_VAR" in os.environ else [str(root)]


def join(address: str) -> None:
    """Join the cluster at `address`. Raises ConfigurationError where it cannot be."""
    import ray
    from ray.exceptions import AuthenticationError

    try:
        with _kept_handler(signal.SIGTERM):
            ray.init(address=address, **_common_options())
    except AuthenticationError:
        raise ConfigurationError(
            f"the Ray cluster at {address} refuses this process without its token; "
            "give it in RAY_AUTH_TOKEN or ~/.ray/auth_token"
        ) from None
    except (ConnectionError, RuntimeError, ValueError, TimeoutError) as error:
        raise ConfigurationError(
            f"the Ray cluster at {address} cannot be joined; it may be of another version or want another token "
            f"({first_line(error)})"
        ) from None


def start() -> None:
    """Start a cluster of this machine alone. Raises ConfigurationError where it cannot be."""
    import ray

    try:
        with _kept_handler(signal.SIGTERM), _ended_where_interrupted():
            ray.init(
                address="local",
                num_cpus=len(os.sched_getaffinity(0)),
                include_dashboard=False,
                object_store_memory=_OBJECT_STORE_BYTES,
                **_common_options(),
            )
    except (ConnectionError, RuntimeError, ValueError, TimeoutError, OSError) as error:
        raise ConfigurationError(f"a local Ray cluster cannot be started: {first_line(error)}") from None


@contextmanager
def _kept_handler(number: signal.Signals) -> Iterator[None]:
    """A handler that this program has of its own stays in place of Ray's, which ends it with the signal's number."""
    before = signal.getsignal(number)
    try:
        yield
    except SystemExit as ended:
        if callable(before) and ended.code == number:
            before(number, None)
        raise
    finally:
        if callable(before) and threading.current_thread() is threading.main_thread():
            signal.signal(number, before)


@contextmanager
def _ended_where_interrupted() -> Iterator[None]:
    """Kill what was begun where an interrupt comes into it: Ray's agents would look for their node for a minute."""
    before = _children()
    try:
        yield
    except (KeyboardInterrupt, SystemExit):
        for child in _children() - before:
            with suppress(psutil.Error):
                child.kill()
        raise


def _children() -> set[psutil.Process]:
    return set(psutil.Process().children(recursive=True))


def first_line(error: BaseException) -> str:
    """The first line of an error's message that is not empty; its kind where there is none."""
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
