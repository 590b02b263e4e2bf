"""The pipeline of threads: the same numbers however it is cut, in order, alive after an error."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from hetero.backends.base import KvSpec, SliceReport
from hetero.batch import DecodeBatch, EncodeBatch, SampledToken
from hetero.errors import BackendError, ModelError, StageLostError
from hetero.pipeline.base import check_reports
from hetero.pipeline.local import LocalPipeline
from placement.types import DeviceKind, Plan, Stage

Greedy = Callable[..., list[SampledToken]]
Cut = Callable[..., Plan]
MakeBatch = Callable[..., DecodeBatch]


@pytest.mark.parametrize("cuts", [(0, 2, 5), (0, 1, 3, 5), (0, 1, 2, 3, 4, 5)])
def test_cut_changes_nothing(
    stories260k: Path, cut: Cut, kv: KvSpec, greedy: Greedy, reference: list[SampledToken], cuts: tuple[int, ...]
) -> None:
    pipeline = LocalPipeline(stories260k, cut(*cuts), kv)
    found = greedy(pipeline)
    assert pipeline.depth == len(pipeline.reports) == len(cuts) - 1
    assert [token.token_id for token in found] == [token.token_id for token in reference]
    np.testing.assert_allclose([t.logprob for t in found], [t.logprob for t in reference], atol=1e-4)
    pipeline.close()


def test_batches_in_flight_come_out_in_order_with_a_trace_from_each_stage(
    stories260k: Path, cut: Cut, kv: KvSpec, batch: MakeBatch
) -> None:
    pipeline = LocalPipeline(stories260k, cut(0, 2, 4, 5), kv)
    for number in range(12):
        pipeline.submit(batch(number, (1, 5 + number), block=4 * (number % 4)))
    results = [pipeline.collect(60.0) for _ in range(12)]
    assert [result.batch_id for result in results if result] == list(range(12))
    for result in results:
        assert result is not None and len(result.traces) == 3
        times = [(t.received_at_seconds, t.started_at_seconds, t.ended_at_seconds) for t in result.traces]
        assert sorted(sum(times, ())) == list(sum(times, ()))
    pipeline.close()


def test_error_is_a_result_in_its_place_and_the_stage_lives_on(
    stories260k: Path, cut: Cut, kv: KvSpec, batch: MakeBatch, greedy: Greedy, reference: list[SampledToken]
) -> None:
    pipeline = LocalPipeline(stories260k, cut(0, 2, 5), kv)
    for number, block in enumerate((0, 4000, 0)):
        pipeline.submit(batch(number, (1, 5), block=block))
    results = [pipeline.collect(60.0) for _ in range(3)]
    assert [result.kind for result in results if result] == ["decode", "error", "decode"]
    assert results[1] is not None and results[1].error is not None and results[1].error[0] == "BackendError"
    assert [t.token_id for t in greedy(pipeline)] == [t.token_id for t in reference]
    pipeline.close()


def test_encoder_goes_through_every_cut(minilm: Path, cut: Cut) -> None:
    ids = np.array([[101, 7592, 2088, 102], [101, 2748, 102, 0]], np.int64)
    batch = EncodeBatch(0, ids, (ids != 0).astype(np.int64), np.zeros_like(ids))
    vectors = []
    for cuts in ((0, 6), (0, 2, 6)):
        pipeline = LocalPipeline(minilm, cut(*cuts), None)
        pipeline.submit(batch)
        result = pipeline.collect(60.0)
        assert result is not None and result.kind == "encode" and result.vectors is not None
        vectors.append(result.vectors)
        pipeline.close()
    np.testing.assert_allclose(vectors[0], vectors[1], atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(vectors[0], axis=1), 1, atol=1e-5)


def test_waiting_for_nothing_ends_in_none_and_a_closed_pipeline_says_so(
    stories260k: Path, cut: Cut, kv: KvSpec, batch: MakeBatch
) -> None:
    pipeline = LocalPipeline(stories260k, cut(0, 5), kv)
    assert pipeline.collect(0.01) is None
    pipeline.close()
    pipeline.close()
    with pytest.raises(StageLostError, match="closed"):
        pipeline.submit(batch(0, (1,)))
    with pytest.raises(StageLostError, match="closed"):
        pipeline.collect(0.01)


def test_slice_that_cannot_be_made_is_the_engines_own_error(
    stories260k: Path, tmp_path: Path, cut: Cut, kv: KvSpec
) -> None:
    with pytest.raises(BackendError, match="fp8"):
        LocalPipeline(stories260k, cut(0, 5, precision="fp8"), kv)
    with pytest.raises(ModelError):
        LocalPipeline(tmp_path, cut(0, 5), kv)


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        ({"precision": "bf16"}, DeviceKind.CPU),
        ({"engine": "onnx"}, DeviceKind.CPU),
        ({"device": "CPUExecutionProvider"}, DeviceKind.NPU),
        ({"device": "cuda:0 (some GPU)"}, DeviceKind.CPU),
    ],
)
def test_report_that_does_not_honour_the_plan_is_refused(cut: Cut, change: dict[str, str], kind: DeviceKind) -> None:
    good = cut(0, 5)
    report = SliceReport("torch", "2", "cpu", "fp32", 1, 1, 0.1)
    check_reports(good, [report])
    stage = good.stages[0]
    plan = Plan((Stage(replace(stage.device, kind=kind), "torch", 0, 5, "fp32"),), "a test")
    with pytest.raises(BackendError, match=r"stage 0 .* not honoured"):
        check_reports(plan, [replace(report, **change)])
