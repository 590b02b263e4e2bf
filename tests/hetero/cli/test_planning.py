"""`hetero profile`, `hetero plan` with what was measured, and `hetero bench plans`."""

import json
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest

from hetero.cli.main import run
from hetero.devices import local_devices
from hetero.profiling.cache import profile_path
from hetero.profiling.fingerprint import fingerprint
from placement.profiles import HOST, LinkTime, Profile, SegmentTime

Hetero = Callable[..., subprocess.CompletedProcess[str]]
Refused = Callable[..., str]


pytestmark = pytest.mark.usefixtures("all_cores")


@pytest.fixture
def profile(stories260k: Path) -> Profile:
    """A profile by which torch computes a block in 10 ms on the CPU, in 6 ms on a core, and the NPU in 1 ms."""
    options = {"cpu": ("torch", "fp32", 1e-2), "cpu-core0": ("torch", "fp32", 6e-3), "npu": ("onnx", "fp16", 1e-3)}
    segments = [
        SegmentTime(name, engine, precision, phase, first, last, tokens, 0, (seconds * (last - first),) * 3)
        for name, (engine, precision, seconds) in options.items()
        for phase, tokens in (("decode", 1), ("prefill", 16))
        for first, last in ((0, 1), (1, 2), (0, 5))
    ]
    ends = [HOST, *options]
    links = [LinkTime(a, b, size, (1e-5,)) for a in ends for b in ends if a != b for size in (100, 1000)]
    return Profile(fingerprint(stories260k, local_devices()), 5, tuple(segments), tuple(links))


@pytest.fixture
def cached(profile: Profile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Profile:
    """The profile, in the cache that commands use."""
    monkeypatch.setenv("HETERO_CACHE", str(tmp_path))
    profile.save(profile_path(profile.fingerprint, tmp_path))
    return profile


@pytest.fixture
def planned(stories260k: Path, capfd: pytest.CaptureFixture[str]) -> Callable[..., dict[str, object]]:
    def command(*flags: object) -> dict[str, object]:
        assert run(["plan", str(stories260k), "--json", *map(str, flags)]) == 0
        document: dict[str, object] = json.loads(capfd.readouterr().out)
        return document

    return command


Planned = Callable[..., dict[str, object]]


@pytest.mark.parametrize(
    ("flags", "plan"),
    [
        ((), "cpu-core0/torch@fp32:0-5"),
        (("--exclude", "cpu-core0"), "cpu/torch@fp32:0-5"),
        (("--pin", "npu:0-3"), "npu/onnx@fp16:0-3,cpu-core0/torch@fp32:3-5"),
        (("--pin", "cpu:0-1", "--pin", "npu:4-5"), "cpu/torch@fp32:0-1,cpu-core0/torch@fp32:1-4,npu/onnx@fp16:4-5"),
        (("--plan", "auto:ttft", "--exclude", "cpu"), "cpu-core0/torch@fp32:0-5"),
        (("--plan", "cpu/torch:0-2,npu:2-5"), "cpu/torch@fp32:0-2,npu/onnx@fp16:2-5"),
    ],
)
def test_plan_follows_the_profile_and_the_constraints(
    cached: Profile, planned: Planned, flags: tuple[str, ...], plan: str
) -> None:
    assert planned(*flags)["plan"] == plan


def test_plan_predicts_what_the_profile_says(cached: Profile, planned: Planned) -> None:
    figures = planned("--plan", "cpu/torch:0-2,npu:2-5", "--prompt-tokens", 16, "--output-tokens", 11)["figures"]
    assert isinstance(figures, dict) and figures["measured"]
    assert [stage["token_seconds"] for stage in figures["stages"]] == pytest.approx([2e-2, 3e-3], rel=0.01)
    assert figures["latency_seconds"] == pytest.approx(11 * (2e-2 + 3e-3 + 3e-5), rel=0.01)


POWER = ("--power", "cpu=20", "--power", "cpu-core0=100", "--power", "npu=1")


def test_energy_takes_the_thriftier_device_and_a_bound_the_faster_one(cached: Profile, planned: Planned) -> None:
    asked = ("--objective", "energy", *POWER, "--prompt-tokens", 16, "--output-tokens", 11)
    assert planned(*asked)["plan"] == "cpu/torch@fp32:0-5"
    # 11 steps of 50 ms on the CPU, of 30 ms on the core.
    assert planned(*asked, "--bound", "latency=0.34")["plan"] == "cpu-core0/torch@fp32:0-5"


def test_pareto_list_leads_from_one_objective_to_the_other(cached: Profile, planned: Planned) -> None:
    listed = planned("--pareto", "energy", *POWER)["pareto"]
    assert isinstance(listed, list)
    assert [listed[0]["plan"], listed[-1]["plan"]] == ["cpu-core0/torch@fp32:0-5", "cpu/torch@fp32:0-5"]
    seconds, joules = ([each["figures"][f"{name}"] for each in listed] for name in ("latency_seconds", "energy_joules"))
    assert seconds == sorted(seconds) and joules == sorted(joules, reverse=True)


def test_early_exit_makes_later_blocks_cheaper(cached: Profile, planned: Planned) -> None:
    asked = ("--plan", "auto", "--prompt-tokens", 16, "--output-tokens", 11)
    full, left = (planned(*asked, *more)["figures"] for more in ((), ("--survival", "1,1,1,0.5,0.5")))
    assert isinstance(full, dict) and isinstance(left, dict)
    assert left["token_seconds"] == pytest.approx(full["token_seconds"] * 4 / 5, rel=0.02)
    assert left["first_token_seconds"] == pytest.approx(full["first_token_seconds"])


def test_plan_shows_alternatives_reasons_losses_and_a_drawing(
    cached: Profile, stories260k: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    drawing = tmp_path / "plan.svg"
    assert run(["plan", str(stories260k), "--svg", str(drawing), "--objective", "throughput"]) == 0
    said = capfd.readouterr().out
    for words in (
        "cpu alone",
        "cpu-core0 alone",
        "emulated: npu is emulated",
        "What binds",
        "┌",
        "without cpu-core0: ",
    ):
        assert words in said
    assert ElementTree.parse(drawing).getroot().tag.endswith("svg")


def test_plan_without_a_profile_says_so_and_takes_the_single_device(
    planned: Planned, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HETERO_CACHE", str(tmp_path))
    document = planned()
    assert document["plan"] == "cpu/openvino@fp32:0-5"
    assert "`hetero profile` does that" in str(document["reason"])
    guessed = planned("--objective", "throughput")
    assert "every time here is a guess" in str(guessed["note"])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"model": "another"}, "the profile is of another model"),
        ({"machine": "another"}, "the profile is of another machine"),
        ({"versions": (("torch", "1.0"),)}, "other versions"),
    ],
)
def test_profile_of_something_else_is_refused(
    refused: Refused, profile: Profile, stories260k: Path, tmp_path: Path, change: dict[str, str], said: str
) -> None:
    file = tmp_path / "profile.json"
    replace(profile, fingerprint=replace(profile.fingerprint, **change)).save(file)
    assert said in refused("plan", stories260k, "--profile-file", file)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("profile",), "MODEL"),
        (("profile", "/nowhere/at/all"), "/nowhere/at/all"),
        (("profile", "tiny", "--budget-seconds", "0"), "--budget-seconds"),
        (("profile", "tiny", "--context", "99999"), "context"),
        (("plan", "tiny", "--objective", "speed"), "no objective 'speed'"),
        (("plan", "tiny", "--plan", "auto:speed"), "no objective 'speed'"),
        (("plan", "tiny", "--pin", "npu"), "is not of the form"),
        (("plan", "tiny", "--pin", "npu:0-99"), "no range of the model's blocks 0-6"),
        (("plan", "tiny", "--pin", "tpu:0-2"), "'tpu'"),
        (("plan", "tiny", "--exclude", "tpu"), "'tpu'"),
        (("plan", "tiny", "--exclude", "cpu"), "no plan"),
        (("plan", "tiny", "--prompt-tokens", "500", "--output-tokens", "500"), "do not fit the context"),
        (("plan", "tiny", "--profile-file", "/nowhere.json"), "/nowhere.json"),
        (("plan", "tiny", "--svg", "/nowhere/plan.svg"), "nothing to draw"),
        (("plan", "tiny", "--bound", "latency"), "not of the form NAME=NUMBER"),
        (
            ("plan", "tiny", "--bound", "speed=3"),
            "no bound on 'speed'; choose one of latency, ttft",
        ),
        (("plan", "tiny", "--bound", "latency=nan"), "must be finite"),
        (("plan", "tiny", "--bound", "latency=1e-9"), "loosen the bound"),
        (("plan", "tiny", "--power", "tpu=30", "--objective", "energy"), "the power table names device 'tpu'"),
        (("plan", "tiny", "--objective", "energy"), "name the power of every device"),
        (("plan", "tiny", "--survival", "1,0.5"), "2 survival probabilities for 6 blocks"),
        (("plan", "tiny", "--survival", "1,1,1,1,1,2"), "must be within 0 and 1"),
        (("plan", "tiny", "--pareto", "latency"), "a Pareto list needs two objectives"),
        (("bench", "plans"), "--random-config"),
        (("bench", "plans", "tiny", "--plans", "0"), "--plans"),
        (("generate", "tiny", "--prompt", "x", "--plan", "auto:speed"), "no objective 'speed'"),
    ],
)
def test_wrong_arguments_are_refused(
    refused: Refused, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], said: str
) -> None:
    monkeypatch.setenv("HETERO_CACHE", str(tmp_path))
    assert said in refused(*arguments)


@pytest.mark.ray
def test_measured_profile_is_used_by_plan_and_by_a_run(
    here: Hetero, stories260k: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HETERO_CACHE", str(tmp_path))
    flags = ("--device", "cpu", "--engine", "torch", "--budget-seconds", 1, "--json")
    measured = here("profile", stories260k, *flags)
    assert measured.returncode == 0, measured.stderr
    document = json.loads(measured.stdout)
    assert document["left_out"] == ["cpu/torch@fp32, segments"]
    assert Profile.load(Path(document["file"])).block_count == 5

    completed = here("generate", stories260k, "--plan", "auto", "--prompt", "Once", "--max-tokens", 8, "--json")
    assert completed.returncode == 0, completed.stderr
    assert "cpu alone" in completed.stderr
    (stage,) = json.loads(completed.stdout)["run"]["stages"]
    assert stage["stage"] == "cpu/torch@fp32:0-5"
    assert stage["predicted_seconds"] > 0 and stage["measured_seconds"] > 0

    shown = json.loads(here("plan", stories260k, "--json").stdout)
    assert shown["plan"] == "cpu/torch@fp32:0-5" and shown["figures"]["measured"]
    assert shown["last_run"]["stages"] == [stage]


@pytest.mark.ray
def test_device_that_is_not_there_is_not_measured(here: Hetero, stories260k: Path) -> None:
    done = here("profile", stories260k, "--device", "tpu")
    assert done.returncode == 2 and done.stdout == ""
    assert "there is no device 'tpu'; the devices here are: cpu" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


@pytest.mark.ray
@pytest.mark.slow
def test_bench_plans_compares_predictions_with_measurements(
    here: Hetero, stories260k: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HETERO_CACHE", str(tmp_path))
    # The budget is what all measurements may take; most of it is better left than used.
    monkeypatch.setattr("hetero.profiling.measuring.MEASURING_SECONDS", (0.5, 0.5))
    monkeypatch.setattr("hetero.profiling.measuring.DISTURBED_SPREAD", float("inf"))
    flags = ("--device", "cpu-core0", "--device", "cpu", "--engine", "torch", "--precision", "fp32", "--plans", 3)
    short = ("--rounds", 1, "--requests", 1, "--prompt-tokens", 16, "--output-tokens", 8, "--json")
    done = here("bench", "plans", stories260k, *flags, *short)
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert 3 <= len(document["rows"]) <= 4
    assert document["chosen"] in [row["plan"] for row in document["rows"]]
    assert all(row["measured_seconds"] > 0 and row["predicted_seconds"] > 0 for row in document["rows"])
    assert set(document["accuracy"]) == {"layer_mape", "end_to_end_mape", "worst", "spearman", "regret"}
