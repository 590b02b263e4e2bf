"""`hetero train-head` from texts to a head that classifies, and what it refuses."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from hetero import Runtime
from hetero.heads import load_head

Done = subprocess.CompletedProcess[str]
ANIMALS = ("dog", "cat", "horse", "cow", "sheep", "bird", "fish", "mouse")
TOOLS = ("hammer", "saw", "drill", "wrench", "chisel", "plane", "file", "rasp")


def rows(frames: tuple[str, ...]) -> str:
    pairs = [
        (frame, word, label)
        for label, words in (("animal", ANIMALS), ("tool", TOOLS))
        for word in words
        for frame in frames
    ]
    return "".join(f"{frame} {word}\t{label}\n" for frame, word, label in pairs)


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    train, check = tmp_path / "train.tsv", tmp_path / "check.tsv"
    train.write_text(rows(("I saw a", "here is the", "my old", "they have one")))
    check.write_text(rows(("look, a",)))
    return train, check


@pytest.mark.ray
def test_train_head_writes_a_head_that_classifies(
    files: tuple[Path, Path], tmp_path: Path, minilm: Path, here: Callable[..., Done]
) -> None:
    folder = tmp_path / "head"
    arguments = ("--data", files[0], "--eval", files[1], "--output", folder, "--json", "--plan", "cpu/torch:0-6")
    private = ("--dp-epsilon", 8, "--dp-delta", 1e-3, "--epochs", 20, "--batch", 32)
    done = here("train-head", minilm, *arguments, *private)
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert 7 < said["card"]["guarantee"]["epsilon"] <= 8
    assert said["accuracy"] > 0.6
    assert "differential privacy" in (folder / "README.md").read_text()
    head = load_head(folder, minilm)
    with Runtime(str(minilm), "cpu/torch:0-6", in_process=True, threads=1) as runtime:
        scores = head.scores(runtime.embed(["a donkey", "a screwdriver"]))
    assert np.isfinite(scores).all() and head.labels == ("animal", "tool")


@pytest.mark.parametrize(
    ("content", "says"),
    [("", "no rows"), ("a text without label\n", "row 1"), ("good\tyes\nbad\t\n", "row 2"), (b"\xff\t1\n", "UTF-8")],
)
def test_train_head_refuses_data_without_citing_it(
    content: str | bytes, says: str, tmp_path: Path, refused: Callable[..., str]
) -> None:
    data = tmp_path / "data.tsv"
    data.write_bytes(content if isinstance(content, bytes) else content.encode())
    line = refused("train-head", "tiny", "--data", str(data), "--output", str(tmp_path / "head"))
    assert says in line and "without label" not in line
    assert not (tmp_path / "head").exists()
