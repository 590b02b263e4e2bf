"""Blocks on a node that the policy trusts, a layer on ciphertexts on one that it does not: planned so, and run so."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from privacy.he.files import save_spec
from privacy.he.spec import Kind, linear_spec

pytestmark = pytest.mark.ray
ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def seen(checkpoint: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("nodes")
    head = folder / "mood.safetensors"
    weights = np.random.default_rng(0).normal(size=(3, 48))
    save_spec(head, linear_spec("mood", weights, kind=Kind.CLASSIFY, labels=["a", "b", "c"]))
    kept = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    own = {"HOME": str(folder), "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "RAY_USAGE_STATS_ENABLED": "0"}
    done = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("hybrid_nodes.py")), checkpoint("minilm"), head, folder],
        env=kept | own | {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "f" * 64},
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def test_a_plan_over_two_nodes_is_told_as_it_runs(seen: dict[str, Any]) -> None:
    assert seen["blocks"] == ["cpu"]
    assert seen["encrypted"] == [["mood", "far.cpu", "ckks-8192-1"]]


def test_vectors_of_the_trusted_node_are_scored_on_the_other(seen: dict[str, Any]) -> None:
    assert seen["error"] < 1e-4


def test_the_other_node_has_seen_neither_text_nor_vector(seen: dict[str, Any]) -> None:
    assert min(seen["own"]) > 0  # the search finds both where they are
    assert seen["far_processes"] == 2 and seen["far"] == [0] * 4
