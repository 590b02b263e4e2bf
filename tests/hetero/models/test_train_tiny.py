"""The training script of the embedded model, run as a user runs it, for seconds."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

ROOT = Path(__file__).parents[3]
HELD_OUT = ROOT / "tests" / "data" / "tiny_held_out.txt"


def train(folder: Path, text: str, minutes: float) -> subprocess.CompletedProcess[str]:
    (folder / "text.txt").write_text(text, encoding="utf-8")
    script = [sys.executable, str(ROOT / "examples" / "train_tiny.py"), str(folder / "text.txt")]
    folders = ["--work", str(folder / "work"), "--output", str(folder / "out")]
    settings = ["--minutes", str(minutes), "--batch", "1", "--no-compile"]
    return subprocess.run([*script, *folders, *settings], capture_output=True, text=True, timeout=200, check=False)


def figures(folder: Path) -> dict[str, float]:
    return torch.load(folder / "work" / "checkpoint.pt", weights_only=True)["figures"]


@pytest.mark.slow
def test_training_writes_a_loadable_folder_and_goes_on_after_a_stop(tmp_path: Path) -> None:
    text = "\f".join([HELD_OUT.read_text(encoding="utf-8")] * 48)
    first = train(tmp_path, text, 0.02)
    assert first.returncode == 0, first.stderr
    stopped = figures(tmp_path)
    second = train(tmp_path, text, stopped["seconds"] / 60 + 0.01)
    assert second.returncode == 0, second.stderr
    assert figures(tmp_path)["steps"] > stopped["steps"] > 0
    assert figures(tmp_path)["tokens"] == 512 * figures(tmp_path)["steps"]
    assert AutoModelForCausalLM.from_pretrained(tmp_path / "out").dtype == torch.float16
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "out")
    assert tokenizer.decode(tokenizer("In the beginning").input_ids) == "In the beginning"


@pytest.mark.slow
def test_training_on_too_little_text_is_refused(tmp_path: Path) -> None:
    refused = train(tmp_path, "In the beginning.\f" * 20, 0.02)
    assert refused.returncode == 2
    assert "too little text" in refused.stderr
