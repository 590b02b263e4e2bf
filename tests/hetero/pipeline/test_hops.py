"""Hop figures out of traces, and from a pipeline that runs."""

from collections.abc import Callable
from pathlib import Path

import pytest

from hetero.backends.base import KvSpec
from hetero.batch import StageTrace
from hetero.bench.hops import Hop, Step, measure_hops, summarise
from hetero.errors import ConfigurationError
from hetero.pipeline.local import LocalPipeline
from placement.types import Plan

Cut = Callable[..., Plan]


def test_gap_from_an_end_to_the_next_start_is_a_hop(cut: Cut) -> None:
    steps = [Step(0.0, (StageTrace(0.9, 1.0, 3.0), StageTrace(3.5, 3.0 + gap, 10.0)), 12.0) for gap in (1.0, 2.0, 3.0)]
    report = summarise(cut(0, 2, 5), steps)
    assert report.hops == (Hop("driver", "cpu", 1.0, 1.0), Hop("cpu", "cpu", 2.0, 2.9), Hop("cpu", "driver", 2.0, 2.0))
    assert report.between_stages == report.hops[1:2]
    assert report.stage_seconds == (2.0, 5.0) and report.step_seconds == 12.0 and report.steps == 3


def test_hop_between_machines_is_not_reported_for_their_clocks_differ(cut: Cut) -> None:
    plan = cut(0, 2, 5, nodes=[("", "a"), ("far", "b")])
    report = summarise(plan, [Step(0.0, (StageTrace(1, 1, 2), StageTrace(90, 90, 95)), 4.0)])
    assert report.hops == (Hop("driver", "cpu", 1.0, 1.0),)


def test_running_pipeline_is_measured_beyond_its_context(stories260k: Path, cut: Cut, kv: KvSpec) -> None:
    plan = cut(0, 2, 5)
    pipeline = LocalPipeline(stories260k, plan, kv)
    report = measure_hops(pipeline, plan, kv, steps=130)
    pipeline.close()
    assert report.steps == 130 and len(report.hops) == 3 and len(report.between_stages) == 1
    parts = sum(report.stage_seconds) + sum(hop.p50_seconds for hop in report.hops)
    assert all(hop.p50_seconds > 0 for hop in report.hops) and parts == pytest.approx(report.step_seconds, rel=0.5)


def test_encoder_is_measured_too(minilm: Path, cut: Cut) -> None:
    plan = cut(0, 3, 6)
    pipeline = LocalPipeline(minilm, plan, None)
    assert len(measure_hops(pipeline, plan, None, steps=5).hops) == 3
    pipeline.close()


def test_nothing_to_measure_is_refused(stories260k: Path, cut: Cut, kv: KvSpec) -> None:
    pipeline = LocalPipeline(stories260k, cut(0, 5), kv)
    with pytest.raises(ConfigurationError, match="0 steps"):
        measure_hops(pipeline, cut(0, 5), kv, steps=0)
    pipeline.close()
