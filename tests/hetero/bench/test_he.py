"""The commands that measure encryption: their parts, and a short run of hostile bytes."""

import json
import random

import pytest

from hetero.bench.he_load import run as load
from hetero.bench.he_mutating import mutated
from hetero.bench.he_mutations import run
from hetero.cli.main import run as command


def test_mutations_change_something_and_repeat() -> None:
    blob = bytes(range(256)) * 40
    first = [mutated(blob, random.Random(seed)) for seed in range(200)]
    assert blob not in first and len(set(first)) > 190
    assert first == [mutated(blob, random.Random(seed)) for seed in range(200)]


def test_hostile_bytes_are_refused_and_the_server_stays_up() -> None:
    report = run(1000, seed=1)
    assert sum(kind.sent for kind in report.kinds) == 1000
    assert report.unhealthy == 0 and report.healthy >= 5
    assert report.peak_bytes < report.memory_bytes
    for kind in report.kinds:
        assert kind.sent == kind.refused + kind.computed and kind.refused > 0.8 * kind.sent
        assert all(len(sentence) < 200 and "\n" not in sentence for sentence in kind.sentences)


def test_the_report_is_one_json_document(capfd: pytest.CaptureFixture[str]) -> None:
    assert command(["bench", "he-mutations", "--count", "20", "--json"]) == 0
    document = json.loads(capfd.readouterr().out)
    assert sum(kind["sent"] for kind in document["kinds"]) == 20 and document["unhealthy"] == 0


def test_load_is_measured_in_three_parts() -> None:
    report = load(0.5)
    assert [part.name for part in report.parts] == ["nothing", "another's worker", "encrypted work"]
    assert all(part.requests > 0 and 0 < part.p50_seconds <= part.p99_seconds for part in report.parts)
    assert report.encrypted > 0 and report.growth > 0
