"""The watch over exits while they run: audits, tightening, stopping, and what is told of it."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from adaptive.modes import AdaptiveChoice, ExitMode
from adaptive.monitor import Verdict
from adaptive.policy import NEVER
from adaptive.report import CalibrationReport
from hetero import Runtime
from hetero.errors import InvalidRequestError
from hetero.exits.calibration import Wishes, calibrate
from hetero.exits.control import ExitControl, choice_of
from hetero.exits.report_files import write_report


@pytest.fixture(scope="module")
def report(exiting_model: Path, make_texts: Callable[..., tuple[str, ...]]) -> CalibrationReport:
    def start(exits: tuple[int, ...]) -> Runtime:
        return Runtime(str(exiting_model), "cpu/torch@fp32:0-4", in_process=True, exits=exits)

    return calibrate(start, exiting_model, make_texts(400, 1), Wishes(epsilon=0.2))


def test_broken_promise_tightens_then_stops_and_says_so(report: CalibrationReport) -> None:
    control = ExitControl(4, report, "calibrated", 3, audit_share=1.0)
    first = control.limits()
    assert first is not None and min(first) == report.threshold
    losses = iter(np.random.default_rng(0).random(4000) < 0.7)
    while control.status().verdict is Verdict.KEEP:
        control.audited(bool(next(losses)))
    tightened = control.limits()
    assert tightened is None or min(tightened) > min(first)
    while control.status().verdict is not Verdict.STOP:
        control.audited(bool(next(losses)))
    status = control.status()
    assert control.limits() is None and status.mode is ExitMode.OFF and status.threshold == NEVER
    assert "calibrate again" in status.reason and not control.wants_audit()


def test_kept_promise_changes_nothing(report: CalibrationReport) -> None:
    control = ExitControl(4, report, "calibrated", 3)
    before = control.limits()
    for loss in np.random.default_rng(1).random(2000) < report.epsilon / 3:
        control.audited(bool(loss))
    assert control.limits() == before and control.status().audited == 2000


def test_audits_run_by_themselves_and_are_no_answers(
    exiting_model: Path, report: CalibrationReport, make_texts: Callable[..., tuple[str, ...]], tmp_path: Path
) -> None:
    import time

    folder = tmp_path / "model"
    shutil.copytree(exiting_model, folder)
    write_report(folder, report)
    with Runtime(str(folder), "cpu/torch@fp32:0-4", in_process=True) as runtime:
        runtime._parts.exits._audit_share = 1.0
        texts = make_texts(80, 9)
        found = runtime.submit_classification(texts)
        found.result()
        deadline = time.monotonic() + 30
        while runtime.stats().exits.audited < 80 and time.monotonic() < deadline:  # type: ignore[union-attr]
            time.sleep(0.02)
        stats = runtime.stats()
        full = runtime.submit_classification(texts, AdaptiveChoice(ExitMode.OFF)).result()
        assert stats.exits is not None and stats.exits.audited == 80 and stats.finished == 1
        assert sum(stats.exits.depths) == 80
        assert stats.exits.disagreed == (found.result().argmax(axis=1) != full.argmax(axis=1)).sum()


def test_requests_may_allow_less_or_nothing(report: CalibrationReport) -> None:
    control = ExitControl(4, report, "calibrated", 3)
    assert control.limits(AdaptiveChoice(ExitMode.OFF)) is None
    assert control.limits(AdaptiveChoice(ExitMode.TERMINATE, 0.0)) is None
    assert control.limits(AdaptiveChoice(ExitMode.TERMINATE, 1.0)) == control.limits()
    assert ExitControl(4, None, "no report").limits() is None


def test_a_report_without_exits_that_pay_is_full_depth(report: CalibrationReport) -> None:
    assert ExitControl(4, replace(report, exits=()), "none pays").limits() is None


@pytest.mark.parametrize(("mode", "most", "said"), [("deep", None, "no mode 'deep'"), (None, 2.0, "max_disagreement")])
def test_words_that_mean_nothing_are_refused(mode: str | None, most: float | None, said: str) -> None:
    with pytest.raises(InvalidRequestError, match=said):
        choice_of(mode, most)


def test_words_of_a_request() -> None:
    assert choice_of(None, None) is None
    assert choice_of("off", None) == AdaptiveChoice(ExitMode.OFF)
    assert choice_of(None, 0.02) == AdaptiveChoice(ExitMode.TERMINATE, 0.02)
