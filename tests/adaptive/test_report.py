"""A report holds on the deployment it was made on, survives its file, and gives limits."""

from dataclasses import replace

import pytest

from adaptive.bounds import Bound
from adaptive.errors import AdaptiveError, StaleReportError
from adaptive.load import KvRule
from adaptive.measures import Measure
from adaptive.modes import AdaptiveChoice, ExitMode
from adaptive.policy import NEVER, ExitPolicy
from adaptive.profile import profile_of
from adaptive.report import CalibrationReport, Fingerprint, read_report

MARK = Fingerprint("w", "h", "cpu/openvino@fp32:0-6", ("openvino 1 on CPU",), ("fp32",), KvRule.NONE)


def report(**changes: object) -> CalibrationReport:
    made = CalibrationReport(
        fingerprint=MARK,
        policy=ExitPolicy(Measure.MAXIMUM, (1, 2, 4), (1.0, 1.5, 2.0)),
        exits=(2, 4),
        thresholds=(NEVER, 0.99, 0.95, 0.9, 0.8),
        epsilon=0.01,
        delta=0.1,
        samples=800,
        loss="the answer differs",
        risk=0.003,
        bounds=(0.002, 0.003, 0.005, 0.005, 0.009),
        method=Bound.BETTING,
        profile=profile_of([2, 2, 4, 6], 6),
        head_blocks=0.02,
        aurocs={"maximum": (0.8, 0.9, 0.95)},
        made_at="2026-01-01T00:00:00+00:00",
    )
    return replace(made, **changes)  # type: ignore[arg-type]


def test_report_survives_its_text() -> None:
    assert read_report(report().text()) == report()


@pytest.mark.parametrize("text", ["", "{}", '{"format": 2}', report().text().replace('"epsilon"', '"epsilom"')])
def test_text_that_is_no_report_is_refused(text: str) -> None:
    with pytest.raises(AdaptiveError, match="hetero calibrate"):
        read_report(text)


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [("weights", "x", "the weights w is now x"), ("heads", "x", "the exits"), ("partition", "cpu:0-3,npu:3-6", "npu"),
     ("engines", ("torch 2 on cpu",), "torch 2"), ("precisions", ("bf16",), "bf16"),
     ("kv_rule", KvRule.STATE_COPY, "the KV rule")],
)  # fmt: skip
def test_any_change_of_the_deployment_makes_a_report_stale(name: str, value: object, said: str) -> None:
    report().check(MARK)
    with pytest.raises(StaleReportError, match=said):
        report().check(replace(MARK, **{name: value}))


def test_limits_are_the_last_threshold_at_the_exits_kept() -> None:
    assert report().limits() == (NEVER, 0.8, 0.8)


def test_limits_tighten_halfway_and_end_at_never() -> None:
    assert [report().limits(steps)[1] for steps in range(4)] == [0.8, 0.95, 0.99, NEVER]


@pytest.mark.parametrize(("most", "limit"), [(0.5, 0.8), (0.009, 0.8), (0.006, 0.9), (0.004, 0.99), (0.0, NEVER)])
def test_a_request_that_allows_less_gets_the_last_threshold_certified_for_it(most: float, limit: float) -> None:
    assert report().limits(0, most)[1] == limit


@pytest.mark.parametrize("most", [-0.1, 1.1, float("nan")])
def test_a_choice_out_of_range_is_refused(most: float) -> None:
    with pytest.raises(AdaptiveError, match="max_disagreement"):
        AdaptiveChoice(ExitMode.TERMINATE, most)


def test_every_mode_states_its_guarantee() -> None:
    assert len({mode.guarantee for mode in ExitMode}) == len(ExitMode)
    assert {mode for mode in ExitMode if mode.needs_report} == {ExitMode.TERMINATE, ExitMode.RELEASE, ExitMode.SKIP}
