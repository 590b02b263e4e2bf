"""Plans for losses, and the decision to move when what is measured drifts from what was predicted."""

import math
from dataclasses import replace

import pytest

from placement import (
    Constraints,
    DataLabel,
    DriftMonitor,
    DriftSettings,
    MigrationCosts,
    PlacementError,
    Trust,
    choose,
    format_plan,
    plans_for_losses,
)
from placement.replan import migration_seconds, with_ratios

CHEAP = MigrationCosts(1e12, 0.0, 1.0)


def test_plan_for_each_loss_does_without_the_device(small):
    plans = plans_for_losses(small)
    assert format_plan(plans["gpu0"].choice.plan) == "cpu/openvino@fp16:0-4"
    assert plans["cpu"].choice is None
    assert "lift: memory" in plans["cpu"].refusal


def test_plan_for_a_loss_keeps_the_trust_policy(small):
    trust = Trust({"cpu": frozenset(DataLabel), "gpu0": frozenset({DataLabel.HIDDEN, DataLabel.LOGITS})})
    roomy = replace(small.devices[0], memory_bytes=2**30)
    plans = plans_for_losses(replace(small, devices=(roomy, small.devices[1]), constraints=Constraints(trust=trust)))
    assert plans["cpu"].choice is None
    assert "trust" in plans["cpu"].refusal


def test_loss_plan_equals_the_choice_without_the_device(make_random_problem):
    for seed in range(40):
        problem = make_random_problem(seed, 6, 3)
        for name, plan in plans_for_losses(problem).items():
            if plan.choice is None:
                continue
            excluded = frozenset({*problem.constraints.excluded, name})
            same = replace(problem, constraints=replace(problem.constraints, excluded=excluded))
            assert plan.choice.figures.of(problem.objective) == pytest.approx(
                choose(same).figures.of(problem.objective)
            )


@pytest.fixture
def monitor(small) -> DriftMonitor:
    """The GPU can hold all and does; the CPU waits."""
    roomy = replace(small, devices=(replace(small.devices[0], memory_bytes=2**30), small.devices[1]))
    settings = DriftSettings(least_observations=5, horizon_seconds=100.0, cool_down_seconds=60.0)
    return DriftMonitor(roomy, choose(roomy).plan, settings)


def observe(monitor: DriftMonitor, ratio: float, times: int = 30) -> None:
    for _ in range(times):
        monitor.observe("gpu0", ratio * 6.5e-3, 6.5e-3)


def test_times_as_predicted_propose_nothing(monitor):
    observe(monitor, 1.1)
    assert monitor.drifted() == {}
    assert monitor.propose(0.0, CHEAP) is None


def test_few_observations_are_not_drift(monitor):
    observe(monitor, 10.0, times=4)
    assert monitor.drifted() == {}


def test_one_outlier_is_not_drift(monitor):
    observe(monitor, 1.0)
    observe(monitor, 1.5, times=1)
    assert monitor.drifted() == {}


def test_sustained_drift_proposes_the_plan_for_the_times_as_they_are(monitor):
    observe(monitor, 10.0)
    proposal = monitor.propose(0.0, CHEAP)
    assert proposal is not None
    assert format_plan(proposal.choice.plan) == "cpu/openvino@fp16:0-4"
    assert proposal.gain == pytest.approx(1 - 14.5 / 65, abs=0.03)
    assert "gpu0 takes 10.00 times what was predicted" in proposal.reason


def test_drift_that_a_move_would_not_repay_is_kept(monitor):
    observe(monitor, 10.0)
    assert monitor.propose(0.0, MigrationCosts(restart_seconds=60.0)) is None
    # What is not proposed does not start the cool-down.
    assert monitor.propose(1.0, CHEAP) is not None


def test_drift_that_changes_no_plan_proposes_nothing(monitor):
    observe(monitor, 1.5)
    assert monitor.drifted() == {"gpu0": pytest.approx(1.5)}
    assert monitor.propose(0.0, CHEAP) is None


def test_no_second_proposal_while_cooling_down(monitor):
    observe(monitor, 10.0)
    assert monitor.propose(0.0, CHEAP) is not None
    assert monitor.propose(59.0, CHEAP) is None
    assert monitor.propose(60.0, CHEAP) is not None


@pytest.mark.parametrize("seconds", [0.0, -1.0, math.nan, math.inf])
def test_time_that_cannot_be_is_refused(monitor, seconds):
    with pytest.raises(PlacementError, match="it must be above 0"):
        monitor.observe("gpu0", seconds, 1.0)


def test_device_without_a_stage_is_not_observed(monitor):
    with pytest.raises(PlacementError, match="holds no stage"):
        monitor.observe("cpu", 1.0, 1.0)


def test_migration_counts_the_longest_stage_that_is_new(small):
    old, new = choose(small).plan, choose(replace(small, constraints=Constraints(excluded=frozenset({"gpu0"})))).plan
    costs = MigrationCosts(bytes_per_second=10 * 2**20, compile_seconds_per_block=0.5, restart_seconds=2.0)
    assert migration_seconds(small.model.layers, old, new, costs) == pytest.approx(2 + 4 * (1 + 0.5))
    assert migration_seconds(small.model.layers, old, old, costs) == 2.0


def test_drift_without_a_profile_is_refused(small):
    with pytest.raises(PlacementError, match="needs a profile"):
        with_ratios(replace(small, profile=None), {"cpu": 2.0})
