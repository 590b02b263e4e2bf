"""The pipeline of Ray actors: LocalPipeline's numbers, a clear end of every kind, and nothing left behind."""

import os
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest

from hetero.backends.base import KvSpec
from hetero.batch import DecodeBatch, SampledToken
from hetero.bench.hops import measure_hops
from hetero.cluster import Cluster
from hetero.errors import BackendError, ConfigurationError, ModelError, StageLostError
from hetero.pipeline.actor import ActorPipeline
from placement.types import Plan

pytestmark = pytest.mark.ray

Greedy = Callable[..., list[SampledToken]]
Cut = Callable[..., Plan]
MakeBatch = Callable[..., DecodeBatch]


def stage_processes() -> set[int]:
    """The stage processes among this process's descendants, Ray's workers being that."""
    children = psutil.Process().children(recursive=True)
    return {child.pid for child in children if "StageServer" in " ".join(_title(child))}


def _title(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []


def link_folders() -> set[str]:
    return {entry.name for entry in Path(tempfile.gettempdir()).glob("hetero-link-*")}


@pytest.fixture
def nothing_left(ray_cluster: Cluster) -> Iterator[None]:
    """Fails the test if it leaves an actor or a socket's folder."""
    processes, folders = stage_processes(), link_folders()
    yield
    deadline = time.monotonic() + 5
    while not stage_processes() <= processes and time.monotonic() < deadline:
        time.sleep(0.05)
    assert stage_processes() <= processes and link_folders() <= folders


@pytest.fixture(scope="module")
def three_stages(ray_cluster: Cluster, stories260k: Path, cut: Cut, kv: KvSpec) -> Iterator[ActorPipeline]:
    pipeline = ActorPipeline(stories260k, cut(0, 1, 3, 5), kv, threads=1)
    yield pipeline
    pipeline.close()


def test_actors_give_the_numbers_of_one_stage(
    three_stages: ActorPipeline, greedy: Greedy, reference: list[SampledToken]
) -> None:
    found = greedy(three_stages)
    assert three_stages.depth == len(three_stages.reports) == len(set(three_stages.process_ids)) == 3
    assert [token.token_id for token in found] == [token.token_id for token in reference]
    np.testing.assert_allclose([t.logprob for t in found], [t.logprob for t in reference], atol=1e-4)
    assert [[i for i, _ in t.alternatives] for t in found] == [[i for i, _ in t.alternatives] for t in reference]


def test_stages_run_at_the_driver_s_priority(three_stages: ActorPipeline) -> None:
    assert {psutil.Process(pid).nice() for pid in three_stages.process_ids} == {psutil.Process().nice()}


def test_batches_in_flight_come_out_in_order_around_an_error(three_stages: ActorPipeline, batch: MakeBatch) -> None:
    for number in range(12):
        three_stages.submit(batch(number, (1, 5), block=4000 if number == 5 else 4 * (number % 4)))
    results = [three_stages.collect(60.0) for _ in range(12)]
    assert [result.batch_id for result in results if result] == list(range(12))
    assert [result.batch_id for result in results if result and result.error] == [5]
    failed = results[5]
    assert failed is not None and failed.error is not None and failed.error[0] == "BackendError" and failed.error[1]
    assert all(len(result.traces) == 3 for result in results if result and not result.error)


def test_wide_prompt_passes_as_it_is(
    three_stages: ActorPipeline, batch: MakeBatch, greedy: Greedy, reference: list[SampledToken]
) -> None:
    """128 tokens of hidden states, larger than what a socket buffers in one piece."""
    three_stages.submit(batch(0, tuple(range(1, 129))))
    result = three_stages.collect(60.0)
    assert result is not None and result.error is None and len(result.tokens) == 1
    assert [t.token_id for t in greedy(three_stages)] == [t.token_id for t in reference]


def test_open_pipeline_keeps_no_name_on_disk(three_stages: ActorPipeline) -> None:
    sockets = [c.laddr for pid in three_stages.process_ids for c in psutil.Process(pid).net_connections("unix")]
    ours = [name for name in sockets if isinstance(name, str) and "hetero-link-" in name]
    assert ours and not any(Path(name).exists() for name in ours)


def test_hops_of_real_actors_are_measured(three_stages: ActorPipeline, cut: Cut, kv: KvSpec) -> None:
    report = measure_hops(three_stages, cut(0, 1, 3, 5), kv, steps=60)
    assert [(hop.source, hop.target) for hop in report.between_stages] == [("cpu", "cpu"), ("cpu", "cpu")]
    # A bound that a loaded machine holds too; the target of 0.15 ms is for `hetero bench hops`.
    assert all(0 < hop.p50_seconds < 0.005 for hop in report.between_stages)


def test_killed_stage_is_named_within_two_seconds(
    nothing_left: None, stories260k: Path, cut: Cut, kv: KvSpec, batch: MakeBatch
) -> None:
    progress: list[tuple[int, str]] = []
    plan = cut(0, 2, 5)
    pipeline = ActorPipeline(stories260k, plan, kv, threads=1, on_progress=lambda *step: progress.append(step))
    for index in range(2):
        assert [text for stage, text in progress if stage == index] == ["starting", "loading", "ready"]
    os.kill(pipeline.process_ids[1], signal.SIGKILL)
    killed_at = time.monotonic()
    with pytest.raises(StageLostError, match=r"stage 1 \(cpu/torch:2-5\) was lost"):
        while True:
            pipeline.collect(10.0)
    assert time.monotonic() - killed_at < 2.0
    with pytest.raises(StageLostError, match="stage 1"):
        pipeline.submit(batch(0, (1,)))
    pipeline.close()


def test_closed_pipeline_leaves_nothing_and_says_that_it_is_closed(
    nothing_left: None, stories260k: Path, cut: Cut, kv: KvSpec, batch: MakeBatch
) -> None:
    pipeline = ActorPipeline(stories260k, cut(0, 5), kv, threads=1)
    pids = pipeline.process_ids
    pipeline.submit(batch(0, (1, 5)))
    pipeline.close()
    pipeline.close()
    _, alive = psutil.wait_procs([psutil.Process(pid) for pid in pids if psutil.pid_exists(pid)], timeout=5)
    assert not alive
    with pytest.raises(StageLostError, match="closed"):
        pipeline.collect(0.1)


def test_engines_error_arrives_as_it_was_raised(nothing_left: None, stories260k: Path, cut: Cut, kv: KvSpec) -> None:
    with pytest.raises(BackendError, match="fp8") as caught:
        ActorPipeline(stories260k, cut(0, 2, 5, precision="fp8"), kv, threads=1)
    assert type(caught.value) is BackendError and "\n" not in str(caught.value)


def test_folder_without_a_model_is_a_models_error(nothing_left: None, tmp_path: Path, cut: Cut, kv: KvSpec) -> None:
    with pytest.raises(ModelError):
        ActorPipeline(tmp_path, cut(0, 5), kv, threads=1)


def test_no_room_is_told_with_what_is_asked_for(
    nothing_left: None, ray_cluster: Cluster, stories260k: Path, cut: Cut, kv: KvSpec
) -> None:
    import ray

    # As many as take every CPU: those that other tests' pipelines still hold are waited for, before the stage's turn.
    halves = 2 * int(ray.cluster_resources()["CPU"])
    hogs = [ray.remote(num_cpus=0.5)(_Hog).remote() for _ in range(halves)]
    ray.wait([hog.ready.remote() for hog in hogs], num_returns=halves, timeout=10)
    with pytest.raises(ConfigurationError, match=r"stage \d .* did not start within 1 seconds: it asks for 0.5 CPU on"):
        ActorPipeline(stories260k, cut(0, 2, 5), kv, threads=1, place_seconds=1.0)
    for hog in hogs:
        ray.kill(hog)


class _Hog:
    """Holds a part of the cluster's CPUs."""

    def ready(self) -> None:
        return None
