"""`hetero plan` of a model whose exits are calibrated: what it counts on, and what it says of it."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from hetero.cli.main import run
from hetero.exits.calibration import Wishes, calibrate
from hetero.exits.report_files import write_report
from hetero.exits.surviving import measured_survival
from hetero.models.config_reader import read_config
from hetero.runtime import Runtime

PLAN = "cpu/torch@fp32:0-4"


@pytest.fixture
def calibrated(exiting_model: Path, make_texts: Callable[..., tuple[str, ...]], tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    shutil.copytree(exiting_model, folder)
    wishes = Wishes(epsilon=0.2, delta=0.1)
    report = calibrate(
        lambda exits: Runtime(str(folder), PLAN, exits=exits, in_process=True), folder, make_texts(300, 5), wishes
    )
    write_report(folder, report)
    return folder


def test_plan_counts_on_the_calibrated_survival_and_says_so(
    calibrated: Path, capfd: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HETERO_CACHE", str(tmp_path))
    found = measured_survival(calibrated, read_config(calibrated))
    assert found is not None and found.partition == PLAN and found.weights[0] == 1 and found.weights[-1] < 1
    assert found.account(PLAN).endswith(", ".join(f"{weight:.2f}" for weight in found.weights))
    seconds, notes = [], []
    for flags in ((), ("--survival", "1,1,1,1"), ("--survival", ",".join(map(str, found.weights)))):
        asked = ["plan", str(calibrated), "--objective", "throughput", "--json", *flags]
        assert run(asked) == 0
        document = json.loads(capfd.readouterr().out)
        seconds.append(document["figures"]["latency_seconds"])
        notes.append(document.get("note", ""))
    # Flags name no heads, which cost something.
    assert seconds[2] <= seconds[0] < seconds[1]
    assert "with exits at" in notes[0] and "hetero calibrate" in notes[0] and "with exits" not in notes[1]


def test_heads_of_another_model_survive_nothing(calibrated: Path) -> None:
    card = calibrated / "exits" / "card.json"
    values = json.loads(card.read_text(encoding="utf-8"))
    card.write_text(json.dumps(values | {"weights": "0" * 32}), encoding="utf-8")
    assert measured_survival(calibrated, read_config(calibrated)) is None
