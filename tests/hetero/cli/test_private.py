"""`hetero private` as a user types it: an index, a server, a search and a classification."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from hetero.cli.main import run
from hetero.cluster import Cluster
from privacy.he.files import save_spec
from privacy.he.spec import Kind, linear_spec

LINES = ["How to bake bread", "Repairing a bicycle tyre", "The Roman aqueducts", "Growing tomatoes"]


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory, minilm: Path, ray_cluster: Cluster) -> Path:
    folder = tmp_path_factory.mktemp("private")
    (folder / "lines.txt").write_text("\n".join(LINES))
    output = str(folder / "library.safetensors")
    assert run(["private", "index", str(minilm), str(folder / "lines.txt"), "--output", output]) == 0
    return Path(output)


@pytest.fixture(scope="module")
def address(index: Path) -> Iterator[str]:
    """A server in a process of its own, which ends as it should."""
    weight = np.random.default_rng(0).normal(size=(2, 384))
    head = index.with_name("head.safetensors")
    save_spec(head, linear_spec("head", weight, kind=Kind.CLASSIFY, labels=["no", "yes"]))
    command = [sys.executable, "-m", "hetero", "private", "serve", "--head", str(head), "--documents", str(index)]
    process = subprocess.Popen([*command, "--grpc-port", "0", "--json"], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    said = json.loads(process.stdout.readline())
    assert [model["name"] for model in said["models"]] == ["head", "library"]
    yield said["address"]
    process.terminate()
    assert process.wait(30) == 0


@pytest.mark.ray
def test_search_and_classification_from_the_command_line(
    address: str, minilm: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    def printed(*arguments: str) -> str:
        capfd.readouterr()
        assert run(["private", *arguments]) == 0
        return capfd.readouterr().out

    listed = printed("models", "--server", address)
    assert "ckks-8192-1" in listed and "would recover" in listed
    found = printed("search", str(minilm), "--server", address, "--text", "a flat tyre", "--json")
    assert json.loads(found)["hits"][0][0]["title"] == LINES[1]
    labelled = printed("classify", str(minilm), "--server", address, "--text", "a film", "--text", "a tree")
    assert labelled.count("yes") + labelled.count("no") >= 2 and "a tree" in labelled


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("serve",), "nothing to serve"),
        (("serve", "--head", "missing.safetensors"), "missing.safetensors cannot be read: No such file"),
        (("serve", "--layer", "minilm"), "FOLDER:NAME"),
        (("classify", "tiny", "--server", "localhost:1", "--text", ""), "no server answers"),
        (("index", "tiny", "missing.txt", "--output", "x"), "cannot be read"),
    ],
)
def test_what_cannot_be_done_is_one_sentence(
    arguments: tuple[str, ...], sentence: str, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run(["private", *arguments]) in (1, 2)
    captured = capfd.readouterr()
    assert captured.out == "" and len(captured.err.strip().splitlines()) == 1
    assert sentence in captured.err
