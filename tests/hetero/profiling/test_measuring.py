"""Real measurements through real actors, of a small model in little time."""

import os
from pathlib import Path

import psutil
import pytest

from hetero.cluster import Cluster, discover
from hetero.models.config_reader import read_config
from hetero.pipeline.actor import ActorPipeline
from hetero.profiling.contention import Turns, measure_contention, slow_down
from hetero.profiling.driving import kv_of, requests_per_second, ride
from hetero.profiling.fingerprint import fingerprint
from hetero.profiling.measuring import Subject, measure_all
from hetero.profiling.options import Option
from hetero.profiling.request import Wish, choose_devices, measure_wish
from hetero.profiling.segments import shapes_for
from placement import UnknownDeviceError
from placement.contention import contention_table
from placement.errors import ProfileError
from placement.link_times import link_times
from placement.problem import Traffic
from placement.profiles import HOST, Profile

pytestmark = pytest.mark.ray


@pytest.fixture(scope="module")
def subject(stories260k: Path) -> Subject:
    return Subject(stories260k, read_config(stories260k), 128)


@pytest.fixture(scope="module")
def option(ray_cluster: Cluster) -> Option:
    return Option(discover(ray_cluster)[0], "torch", "fp32")


def test_shortest_profile_has_links_and_the_whole_model_and_says_what_it_lacks(
    ray_cluster: Cluster, subject: Subject, option: Option, minilm: Path, tmp_path: Path
) -> None:
    told: list[tuple[int, int, str]] = []
    devices = discover(ray_cluster)
    expected = fingerprint(subject.folder, devices)
    findings = measure_all(subject, [option], 0.1, lambda *step: told.append(step))
    profile = findings.over(None, expected, 5)
    assert findings.left_out == ["cpu/torch@fp32, segments"]
    assert told[0] == (0, 3, "the links of host and cpu") and told[-1] == (3, 3, "done")

    profile.save(tmp_path / "profile.json")
    loaded = Profile.load(tmp_path / "profile.json").require(expected, ["cpu"])
    assert loaded == profile and loaded.block_count == 5
    assert {(time.first, time.last) for time in loaded.segments} == {(0, 5)}
    assert {time.phase for time in loaded.segments} == {"prefill", "decode"}
    assert all(len(time.seconds) >= 3 and min(time.seconds) > 0 for time in loaded.segments)
    (memory,) = loaded.memory
    # Two KV heads of 8 numbers, keys and values, four bytes each, in five blocks.
    assert memory.kv_bytes_per_token == 4 * 8 * 2 * 4 * 5
    assert memory.weight_bytes > 4 * 250_000 and memory.compile_bytes > 0

    assert len([link for link in loaded.links if link.source == HOST]) >= 6
    links = link_times([option.device], loaded)
    assert 0 < links.latency_seconds[0, 1] < 0.1 and 0 < links.latency_seconds[1, 0] < 0.1

    with pytest.raises(ProfileError, match="of another model"):
        loaded.require(fingerprint(minilm, devices))
    with pytest.raises(ProfileError, match="of another machine"):
        loaded.require(fingerprint(subject.folder, devices[:1]))


def test_second_call_measures_what_the_first_left_and_cores_where_they_are_named(
    ray_cluster: Cluster, subject: Subject, option: Option, tmp_path: Path
) -> None:
    wish = Wish(("cpu",), ("torch",), cache=tmp_path, budget_seconds=0.1)
    first = measure_wish(ray_cluster, subject.folder, subject.config, 128, wish, lambda *step: None)
    again = measure_wish(ray_cluster, subject.folder, subject.config, 128, wish, lambda *step: None)
    assert again.path == first.path and Profile.load(first.path) == again.profile
    assert first.left_out == ("cpu/torch@fp32, segments",) and again.left_out == ()
    known = {(time.first, time.last) for time in again.profile.segments}
    assert known == {(0, 5), (0, 1), (1, 2), (2, 4), (4, 5)}


def test_device_that_is_not_there_is_refused(ray_cluster: Cluster) -> None:
    with pytest.raises(UnknownDeviceError, match="there is no device 'tpu'; the devices here are: cpu"):
        choose_devices(discover(ray_cluster), ("tpu",), split_cpu=False)


def test_refusal_of_an_engine_is_kept_with_its_reason(ray_cluster: Cluster, subject: Subject, option: Option) -> None:
    wrong = Option(option.device, "onnx", "bf16")
    findings = measure_all(subject, [wrong], 60.0, lambda *step: None)
    assert findings.segments == [] and findings.left_out == []
    (refusal,) = findings.refusals
    assert (refusal.device, refusal.engine, refusal.precision) == ("cpu", "onnx", "bf16")
    assert "fp32" in refusal.reason


def test_stages_on_cores_are_bound_to_them_and_are_driven_through_requests(
    ray_cluster: Cluster, subject: Subject, option: Option
) -> None:
    cores = choose_devices(discover(ray_cluster), (), split_cpu=True)[-2:]
    plan = Option(cores[0], "torch", "fp32").plan((0, 2), (2, 5))
    traffic = Traffic(prompt_tokens=20, output_tokens=5, chunk_tokens=16)
    pipeline = ActorPipeline(subject.folder, plan, kv_of(subject.config, traffic))
    try:
        for process_id in pipeline.process_ids:
            threads = psutil.Process(process_id).threads()
            assert {tuple(os.sched_getaffinity(thread.id)) for thread in threads} == {cores[0].cores}
        one = ride(pipeline, subject.config, traffic)
        assert (len(one.prompt), len(one.decode), one.decode_count) == (2, 4, 4)
        assert one.request_seconds == pytest.approx(one.first_token_seconds + 4 * one.token_seconds)
        assert requests_per_second(pipeline, subject.config, traffic, 0.2) > 0
        assert ride(pipeline, subject.config, traffic).request_seconds > 0
    finally:
        pipeline.close()


def test_slow_down_is_the_mean_over_both_and_never_below_one() -> None:
    """Medians of 2 and 3 seconds become 5 and 4.5; what gets faster in company is chance."""
    turns = [Turns([2.0, 2.0, 9.0], [5.0, 4.0, 6.0]), Turns([3.0], [4.5])]
    assert slow_down(turns) == pytest.approx((2.5 + 1.5) / 2)
    assert slow_down([Turns([2.0], [1.0]), Turns([2.0], [2.0])]) == 1.0


def test_contention_is_measured_at_once_and_stands_in_the_cost_model(
    ray_cluster: Cluster, subject: Subject, option: Option
) -> None:
    """Which devices are meant and where the factor goes; not how large it is."""
    core = choose_devices(discover(ray_cluster), (), split_cpu=True)[-1]
    other = Option(core, "torch", "fp32")
    shape = shapes_for(subject.config, False, 128)[0]
    found = measure_contention(subject.folder, subject.config, (option, other), shape, 0.5)
    assert found.devices == ("cpu", core.name) and found.factor >= 1
    table = contention_table([option.device, core], Profile(fingerprint(subject.folder, ()), 5, contentions=(found,)))
    assert table[0, 1] == table[1, 0] == found.factor - 1
