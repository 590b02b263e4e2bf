"""Fixtures of the runtime's tests: small checkpoints of every family, written once a test run."""

import importlib.util
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from hetero.cluster import Cluster


def _beside(name: str) -> ModuleType:
    """A module of this folder (tests are no packages)."""
    spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def model_factory() -> ModuleType:
    """`model_factory.py`: small random checkpoints."""
    return _beside("model_factory")


@pytest.fixture(scope="session")
def slice_driver() -> ModuleType:
    """`slice_driver.py`: drives chains of compiled slices."""
    return _beside("slice_driver")


@pytest.fixture(scope="session")
def recording_door() -> ModuleType:
    """`recording_door.py`: keeps what goes between a client and a server."""
    return _beside("recording_door")


@pytest.fixture(scope="session")
def checkpoint(model_factory: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """`checkpoint(family, **overrides)`: a random model's folder, shared by equal arguments; don't write there."""
    written: dict[str, Path] = {}

    def give(family: str, **overrides: Any) -> Path:
        key = repr((family, sorted(overrides.items())))
        if key not in written:
            written[key] = model_factory.write_checkpoint(family, tmp_path_factory.mktemp(family), **overrides)
        return written[key]

    return give


@pytest.fixture(scope="session")
def ray_cluster() -> Iterator[Cluster]:
    """The one local Ray of a test run; `hetero.cluster.connect` of anything started meanwhile uses it too."""
    from hetero.cluster import connect

    with connect() as cluster:
        yield cluster
