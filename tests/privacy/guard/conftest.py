"""The guard's tests stand on one policy (`guard_kit.py`), whose state each begins for itself."""

import importlib.util
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from privacy.guard import Guard
from privacy.guard_opening import open_guard


@pytest.fixture(scope="session")
def kit() -> ModuleType:
    """`guard_kit.py` (tests are no packages)."""
    spec = importlib.util.spec_from_file_location("guard_kit", Path(__file__).with_name("guard_kit.py"))
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def guard(kit: ModuleType, tmp_path: Path) -> Iterator[Guard]:
    guard = open_guard(kit.policy_in(tmp_path))
    yield guard
    guard.close()


@pytest.fixture(scope="session")
def ask(kit: ModuleType) -> Callable[..., Any]:
    """`ask(method, tenant=..., subject=..., model=..., count=...)`: a request's place in the policy."""
    return kit.ask


@pytest.fixture(scope="session")
def serve(kit: ModuleType) -> Callable[..., Any]:
    """`serve(guard, asked, payload, answer)`: a request's whole life; its answer and its verified receipt."""
    return kit.serve


@pytest.fixture(scope="session")
def spent(kit: ModuleType) -> Callable[..., float]:
    """`spent(guard, name, owner)`: what was spent of an account."""
    return kit.spent
