"""One small model in this process, and a real server for it on a real port."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import grpc
import pytest

from hetero import Runtime, connect
from hetero.client import Client
from hetero.server.server import Server
from hetero.server.settings import ServerSettings

RUNTIME_OPTIONS = {"in_process": True, "threads": 1, "max_sequences": 8}


@pytest.fixture(scope="session")
def runtime(stories260k: Path) -> Iterator[Runtime]:
    with Runtime(str(stories260k), "cpu/torch:0-5", **RUNTIME_OPTIONS) as made:
        yield made


@pytest.fixture(scope="session")
def server(runtime: Runtime) -> Iterator[Server]:
    with Server(ServerSettings(port=0)) as made:
        made.attach(runtime)
        yield made


@pytest.fixture(scope="session")
def client(server: Server) -> Iterator[Client]:
    with connect(f"localhost:{server.port}") as made:
        yield made


@pytest.fixture
def channel(server: Server) -> Iterator[grpc.Channel]:
    """A channel that knows none of our code."""
    with grpc.insecure_channel(f"localhost:{server.port}") as made:
        yield made


@pytest.fixture(scope="session")
def wait_for() -> Callable[[Callable[[], bool]], None]:
    """Waits until a condition holds, at most ten seconds."""

    def wait(condition: Callable[[], bool]) -> None:
        until = time.monotonic() + 10
        while not condition():
            assert time.monotonic() < until, "the condition did not come"
            time.sleep(0.002)

    return wait
