"""Automatic plans: chosen by a profile, kept only if they beat the best single device in a trial."""

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

import hetero
from hetero.automatic import Proposal, asked_objective, propose
from hetero.backends.base import KvSpec
from hetero.bench.hops import Step
from hetero.cluster import Cluster
from hetero.devices import local_devices
from hetero.errors import BackendError, ConfigurationError
from hetero.models.config_reader import read_config
from hetero.pipeline.local import LocalPipeline
from hetero.placing import Goal, usual_traffic
from hetero.planning import plan_model
from hetero.probe import Running, figure_of, settle
from hetero.profiling.cache import profile_path
from hetero.profiling.driving import Ride, ride
from hetero.profiling.fingerprint import fingerprint
from hetero.progress import Progress
from placement import Plan, format_plan
from placement.constraints import Constraints, Pin
from placement.problem import Objective, Traffic
from placement.profiles import HOST, LinkTime, Profile, SegmentTime

GOAL = Goal(traffic=Traffic(prompt_tokens=16, output_tokens=4))


def plan_of(folder: Path, text: str) -> Plan:
    return plan_model(folder, read_config(folder), local_devices(), text)


@pytest.fixture
def start(stories260k: Path) -> Callable[[Plan], Running]:
    """Starts plans in this process."""
    kv = KvSpec(16, 32, 4, 128)
    return lambda plan: Running(plan, LocalPipeline(stories260k, plan, kv, threads=1), kv)


@pytest.mark.npu
def test_cut_that_is_slower_than_one_device_is_not_used_and_both_numbers_are_told(
    stories260k: Path, start: Callable[[Plan], Running]
) -> None:
    """The emulated NPU is slow for certain."""
    slow, alone = plan_of(stories260k, "npu:0-1,cpu/torch:1-5"), plan_of(stories260k, "cpu/torch:0-5")
    settled = settle(start, Proposal(slow, alone, GOAL), alone, read_config(stories260k))
    assert settled.plan.stages == alone.stages and settled.pipeline.depth == 1
    said = settled.plan.reason
    assert said.startswith("measured a request: npu/onnx@fp16:0-1,cpu/torch@fp32:1-5 ")
    assert said.count(" ms") == 2 and said.endswith("cpu/torch@fp32:0-5 is used")
    settled.pipeline.close()


@pytest.mark.npu
@pytest.mark.parametrize("objective", [Objective.LATENCY, Objective.FIRST_TOKEN, Objective.THROUGHPUT])
def test_cut_that_is_faster_than_one_device_stays(
    stories260k: Path, start: Callable[[Plan], Running], objective: Objective
) -> None:
    fast, alone = plan_of(stories260k, "cpu/torch:0-2,cpu/torch:2-5"), plan_of(stories260k, "npu:0-5")
    goal = replace(GOAL, objective=objective, traffic=replace(GOAL.traffic, concurrency=64))
    settled = settle(start, Proposal(fast, alone, goal), alone, read_config(stories260k))
    assert settled.plan.stages == fast.stages and settled.pipeline.depth == 2
    settled.pipeline.close()


def test_plan_that_fails_in_its_trial_has_lost_and_the_failure_is_told(
    stories260k: Path, start: Callable[[Plan], Running]
) -> None:
    plan, alone = (plan_of(stories260k, text) for text in ("cpu/torch:0-2,cpu/torch:2-5", "cpu/torch:0-5"))

    def refuse_cuts(asked: Plan) -> Running:
        if len(asked.stages) > 1:
            raise BackendError("the second stage has no memory")
        return start(asked)

    settled = settle(refuse_cuts, Proposal(plan, alone, GOAL), alone, read_config(stories260k))
    assert settled.plan.stages == alone.stages
    assert "failed (the second stage has no memory)" in settled.plan.reason
    settled.pipeline.close()


@pytest.mark.parametrize(("cut_seconds", "used"), [(0.5, "cut"), (2.0, "alone"), (1.0, "alone")])
def test_measured_figures_decide_and_of_equals_the_single_device_stays(
    stories260k: Path, start: Callable[[Plan], Running], cut_seconds: float, used: str
) -> None:
    cut, alone = (plan_of(stories260k, text) for text in ("cpu/torch:0-2,cpu/torch:2-5", "cpu/torch:0-5"))
    started: list[Running] = []

    def remember(plan: Plan) -> Running:
        started.append(start(plan))
        return started[-1]

    settled = settle(
        remember,
        Proposal(cut, alone, GOAL),
        alone,
        read_config(stories260k),
        lambda running: cut_seconds if running.pipeline.depth == 2 else 1.0,
    )
    assert settled.plan.stages == {"cut": cut, "alone": alone}[used].stages
    # What lost is stopped, and what serves was started last and still runs.
    assert [running.pipeline.depth for running in started] == [1, 2] + [1] * (used == "alone")
    assert settled.pipeline is started[-1].pipeline
    assert ride(settled.pipeline, read_config(stories260k), GOAL.traffic).request_seconds > 0
    assert f" {cut_seconds * 1000:.1f} ms, " in settled.plan.reason and " 1000.0 ms " in settled.plan.reason
    settled.pipeline.close()


def ride_of(prompt_seconds: float, *token_seconds: float) -> Ride:
    prompt, *tokens = (Step(10.0, (), 10.0 + seconds) for seconds in (prompt_seconds, *token_seconds))
    return Ride((prompt,), tuple(tokens), 10)


def test_figure_of_rides_is_their_median_by_the_objective() -> None:
    """Requests of 3, 4 and 11 seconds: a prompt, and ten tokens of each ride's median step."""
    rides = [ride_of(1.0, 0.1, 0.2, 0.3), ride_of(3.0, 0.1), ride_of(2.0, 0.9, 0.9)]
    assert figure_of(rides, Objective.FIRST_TOKEN) == pytest.approx(2.0)
    assert figure_of(rides, Objective.LATENCY) == pytest.approx(4.0)


def test_words_for_automatic_plans() -> None:
    assert asked_objective("auto") is Objective.LATENCY
    assert asked_objective("auto:ttft") is Objective.FIRST_TOKEN
    assert asked_objective("cpu:0-5") is None and asked_objective(None) is None
    with pytest.raises(ConfigurationError, match="no objective 'speed'; choose one of latency, throughput"):
        asked_objective("auto:speed")


def profile_with(folder: Path, seconds: dict[str, float], slow_ends: dict[str, int] | None = None) -> Profile:
    """A profile in which each device takes so many seconds a block, and links next to nothing.

    A device takes a second more for a stage that begins or ends at its number in `slow_ends`.
    """
    slow = slow_ends or {}
    segments = [
        SegmentTime(name, "onnx" if name == "npu" else "torch", precision, phase, first, last, tokens, 0, times)
        for name, each in seconds.items()
        for precision in ("fp16" if name == "npu" else "fp32",)
        for phase, tokens in (("decode", 1), ("prefill", 16))
        for first, last in ((0, 1), (1, 2), (4, 5), (0, 5))
        for times in ((each * (last - first) + (slow.get(name) in (first, last)),) * 3,)
    ]
    ends = [HOST, *seconds]
    links = [LinkTime(a, b, size, (1e-6,)) for a in ends for b in ends if a != b for size in (100, 1000)]
    return Profile(fingerprint(folder, local_devices()), 5, tuple(segments), tuple(links))


def test_profile_decides_the_plan_and_names_the_rival_of_a_cut(stories260k: Path, tmp_path: Path) -> None:
    config, devices = read_config(stories260k), local_devices()
    simple = plan_of(stories260k, "cpu:0-5")
    profile = profile_with(stories260k, {"cpu": 1e-2, "npu": 1e-3})
    profile.save(profile_path(profile.fingerprint, tmp_path))
    pinned = Constraints(pins=(Pin("npu", 0, 2),))
    cut = propose(stories260k, config, devices, replace(GOAL, constraints=pinned), simple, tmp_path)
    assert format_plan(cut.plan) == "npu/onnx@fp16:0-2,cpu/torch@fp32:2-5"
    # An emulated device is used where it is pinned, and never by itself.
    alone = propose(stories260k, config, devices, GOAL, simple, tmp_path)
    assert format_plan(alone.plan) == "cpu/torch@fp32:0-5" and alone.rival is None


def test_without_a_profile_the_simple_plan_is_used_and_why_is_said(stories260k: Path, tmp_path: Path) -> None:
    simple = plan_of(stories260k, "cpu:0-5")
    proposal = propose(stories260k, read_config(stories260k), local_devices(), GOAL, simple, tmp_path)
    assert proposal.plan.stages == simple.stages and proposal.rival is None
    assert "has not been measured here; `hetero profile` does that" in proposal.plan.reason


def test_usual_requests_keep_within_a_short_context() -> None:
    assert usual_traffic(4096).longest_tokens == 256
    assert usual_traffic(20).longest_tokens == 20
    assert usual_traffic(1).prompt_tokens == 1


def test_runtime_follows_the_profile_of_its_cache(stories260k: Path, tmp_path: Path) -> None:
    profile = profile_with(stories260k, {"cpu": 1e-2})
    profile.save(profile_path(profile.fingerprint, tmp_path))
    with hetero.Runtime(str(stories260k), "auto", in_process=True, threads=1, cache=tmp_path) as runtime:
        assert format_plan(runtime.plan) == "cpu/torch@fp32:0-5"
        assert runtime.generate("Once upon a time", max_tokens=8).text.startswith(", there was")


@pytest.mark.ray
def test_automatic_cut_is_tried_before_it_serves_and_what_is_used_is_told(
    ray_cluster: Cluster, stories260k: Path, tmp_path: Path
) -> None:
    """A profile by which two cores are best, each with the end that it is good at; who wins is not asked here."""
    one, other = (f"cpu-core{number}" for number in sorted(os.sched_getaffinity(0))[:2])
    profile = profile_with(stories260k, {"cpu": 1e-1, one: 1e-3, other: 1e-3}, {one: 5, other: 0})
    profile.save(profile_path(profile.fingerprint, tmp_path))
    told: list[Progress] = []
    with hetero.Runtime(
        str(stories260k), "auto", threads=1, context=128, cache=tmp_path, on_progress=told.append
    ) as runtime:
        said = runtime.plan.reason
        assert said.startswith(f"measured a request: {one}/torch@fp32:0-")
        assert "as the best single device" in said and said.endswith(f"{format_plan(runtime.plan)} is used")
        assert [step.text for step in told if step.phase == "plan"][-1] == said
        assert runtime.generate("Once upon a time", max_tokens=8).text.startswith(", there was")
