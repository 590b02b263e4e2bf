"""The watch over exits: silent while the promise holds, loud soon after it is broken."""

import numpy as np
import pytest

from adaptive.errors import CalibrationError
from adaptive.monitor import RiskMonitor, Verdict


def verdicts(risk: float, audits: int, seed: int, epsilon: float = 0.02, alpha: float = 0.05) -> list[Verdict]:
    monitor = RiskMonitor(epsilon, alpha)
    return [monitor.observe(float(loss)) for loss in np.random.default_rng(seed).random(audits) < risk]


def test_false_alarms_stay_below_alpha_at_the_very_edge() -> None:
    alarms = sum(verdicts(0.02, 2000, seed)[-1] is not Verdict.KEEP for seed in range(300))
    assert alarms <= 300 * 0.05 + 3 * np.sqrt(300 * 0.05 * 0.95)


@pytest.mark.parametrize(("risk", "within"), [(0.1, 600), (0.4, 120)])
def test_broken_promise_tightens_and_then_stops(risk: float, within: int) -> None:
    found = [verdicts(risk, 2 * within, seed) for seed in range(20)]
    assert all(each[within] is not Verdict.KEEP for each in found)
    assert all(each[-1] is Verdict.STOP for each in found)
    assert all(Verdict.TIGHTEN in each for each in found)


def test_drift_is_noticed_after_a_long_good_time() -> None:
    monitor, random = RiskMonitor(0.02), np.random.default_rng(0)
    for loss in random.random(1500) < 0.004:
        monitor.observe(float(loss))
    assert monitor.state.verdict is Verdict.KEEP
    for loss in random.random(1500) < 0.3:
        monitor.observe(float(loss))
    assert monitor.state.verdict is Verdict.STOP


def test_state_counts_what_was_audited() -> None:
    monitor = RiskMonitor(0.5)
    for loss in (0.0, 1.0, 0.5):
        monitor.observe(loss)
    assert (monitor.state.audited, monitor.state.disagreed) == (3, 1.5)


@pytest.mark.parametrize("loss", [-0.1, 1.5, float("nan")])
def test_loss_out_of_range_is_refused(loss: float) -> None:
    with pytest.raises(CalibrationError, match="from 0 to 1"):
        RiskMonitor(0.1).observe(loss)
