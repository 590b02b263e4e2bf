"""Servers under a policy, on real ports, for models in this process; and all that clients show them."""

import importlib.util
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from hetero import Runtime
from hetero.governance import open_governance
from hetero.server.server import Server
from hetero.server.settings import ServerSettings

IN_PROCESS = {"in_process": True, "threads": 1, "max_sequences": 8}


def _beside(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def papers() -> ModuleType:
    """`identity_papers.py`: certificates, tokens and policies' files."""
    return _beside("identity_papers")


@pytest.fixture(scope="session")
def office(papers: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Who issues the certificates and tokens that policies of these tests believe."""
    return papers.Office(tmp_path_factory.mktemp("office"))


@pytest.fixture(scope="session")
def story(stories260k: Path) -> Iterator[Runtime]:
    with Runtime(str(stories260k), "cpu/torch:0-5", **IN_PROCESS) as made:
        yield made


@pytest.fixture(scope="session")
def mood(checkpoint: Callable[..., Path]) -> Iterator[Runtime]:
    """A classifier of three labels."""
    with Runtime(str(checkpoint("bert-classifier")), precision="fp32", in_process=True, threads=1) as made:
        yield made


@pytest.fixture(scope="session")
def vectors(checkpoint: Callable[..., Path]) -> Iterator[Runtime]:
    """An embedder of 48 numbers."""
    with Runtime(str(checkpoint("minilm")), precision="fp32", in_process=True, threads=1) as made:
        yield made


@pytest.fixture(scope="module")
def start(office: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Server]]:
    """`start(policy, served, **settings)`: a server under a policy's document, closed with the module."""
    with ExitStack() as opened:

        def started(policy: dict[str, Any], served: Any, **settings: Any) -> Server:
            file = office.write_policy(tmp_path_factory.mktemp("policy"), policy)
            governance = opened.enter_context(open_governance(file))
            server = opened.enter_context(Server(ServerSettings(port=0, **settings), governance))
            server.attach(served)
            server.governance = governance  # for tests that look at the ledger
            return server

        yield started
