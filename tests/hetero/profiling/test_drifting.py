"""What a run that took longer than predicted makes `hetero plan` say."""

import pytest

from hetero.profiling.drifting import drift_account
from hetero.profiling.runs import RunReport, StageRun
from placement import Choice, Objective, PlacementProblem, Traffic, choose, format_plan, format_stage
from placement.speed import unlike_problem


@pytest.fixture(scope="module")
def asked() -> tuple[PlacementProblem, Choice]:
    problem = unlike_problem(20, 6, Traffic(output_tokens=512), Objective.LATENCY)
    return problem, choose(problem)


def run_of(choice: Choice, slow: str, factor: float) -> RunReport:
    stages = []
    for each in choice.figures.stages:
        times = factor if each.stage.device.name == slow else 1.0
        stages.append(StageRun(format_stage(each.stage), each.token_seconds, each.token_seconds * times))
    return RunReport(format_plan(choice.plan), 128, 512, tuple(stages))


def test_run_as_predicted_says_nothing(asked: tuple[PlacementProblem, Choice]) -> None:
    problem, choice = asked
    assert drift_account(run_of(choice, "none", 1.0), problem) == ""
    assert drift_account(run_of(choice, choice.plan.stages[0].device.name, 1.1), problem) == ""


def test_device_that_got_slow_is_named_with_the_plan_that_pays(asked: tuple[PlacementProblem, Choice]) -> None:
    problem, choice = asked
    slow = choice.plan.stages[0].device.name
    said = drift_account(run_of(choice, slow, 20.0), problem)
    assert f"{slow} took 20.00 times what was predicted; moving to " in said
    assert slow not in said.split("moving to ")[1].split(" (")[0]
    faster = drift_account(run_of(choice, slow, 0.8), problem)
    assert "took 0.80 times" in faster and "no plan that is worth moving to" in faster


def test_run_on_other_devices_says_nothing(asked: tuple[PlacementProblem, Choice]) -> None:
    problem, _ = asked
    for plan in ("npu/onnx@fp16:0-20", "gpu0/torch@fp16:0-12", "gpu0"):
        assert drift_account(RunReport(plan, 1, 1, (StageRun(plan, 1.0, 9.0),)), problem) == ""
