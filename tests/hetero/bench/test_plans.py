"""Which plans predictions are compared on, and the figures of the comparison."""

from pathlib import Path

import pytest

from hetero.batch import StageTrace
from hetero.bench.hops import Step
from hetero.bench.plan_errors import Pair, accuracy, rank_correlation
from hetero.bench.plan_list import list_plans, measured_options
from hetero.bench.plan_rounds import load_rounds, save_rounds
from hetero.bench.plans import Measured
from hetero.errors import ConfigurationError
from hetero.profiling.driving import Ride
from hetero.profiling.findings import Findings
from hetero.profiling.options import Option
from placement import (
    Device,
    DeviceKind,
    Fingerprint,
    LinkTime,
    Profile,
    Refusal,
    SegmentTime,
    Traffic,
    format_plan,
    parse_plan,
)

DEVICES = tuple(Device(name, DeviceKind.CPU, ("torch", "onnx"), ("fp32",), 1) for name in ("a", "b", "c"))
OPTIONS = tuple(Option(device, engine, "fp32") for engine in ("torch", "onnx") for device in DEVICES)


def test_plans_are_different_legal_and_of_one_two_and_three_devices() -> None:
    plans = list_plans(OPTIONS, 12, 24)
    texts = [format_plan(plan) for plan in plans]
    assert len(set(texts)) == 24
    for text, plan in zip(texts, plans, strict=True):
        assert parse_plan(text, DEVICES, 12).stages == plan.stages
        assert len({stage.device for stage in plan.stages}) == len(plan.stages)
    assert {len(plan.stages) for plan in plans} == {1, 2, 3}
    assert {plan.stages[1].first for plan in plans if len(plan.stages) == 2} == {3, 6, 9}
    assert [format_plan(plan) for plan in list_plans(OPTIONS, 12, 24)] == texts


@pytest.mark.parametrize(("options", "blocks", "count"), [(OPTIONS[:1], 12, 1), (OPTIONS[:2], 2, 4), (OPTIONS, 1, 6)])
def test_there_are_no_more_plans_than_there_can_be(options: tuple[Option, ...], blocks: int, count: int) -> None:
    assert len(list_plans(options, blocks, 24)) == count


def test_only_options_with_whole_and_segments_take_part() -> None:
    def time(option: Option, first: int, last: int) -> SegmentTime:
        return SegmentTime(option.device.name, option.engine, "fp32", "decode", first, last, 1, 0, (1.0,))

    whole, parts, both, refused = OPTIONS[:4]
    segments = [time(option, 0, 4) for option in (whole, both, refused)]
    segments += [time(option, 0, 1) for option in (parts, both, refused)]
    refusal = Refusal(refused.device.name, refused.engine, "fp32", "cannot")
    profile = Profile(Fingerprint("m", "m", ()), 4, tuple(segments), refusals=(refusal,))
    assert measured_options(OPTIONS, profile) == (both,)


def test_figures_are_as_defined() -> None:
    requests = [Pair(1.1, 1.0), Pair(1.8, 2.0), Pair(4.0, 4.0)]
    found = accuracy([Pair(1.5, 1.0), Pair(0.9, 1.0)], requests, chosen=1)
    assert found.layer_mape == pytest.approx(0.3)
    assert found.end_to_end_mape == pytest.approx((0.1 + 0.1 + 0.0) / 3)
    assert found.worst == pytest.approx(0.1)
    assert found.spearman == pytest.approx(1.0)
    assert found.regret == pytest.approx(1.0)


def test_order_that_is_reversed_correlates_negatively() -> None:
    assert rank_correlation([Pair(1, 3), Pair(2, 2), Pair(3, 1)]) == pytest.approx(-1)
    assert rank_correlation([Pair(1, 3)]) == 1


PLAN = parse_plan("a/torch@fp32:0-2,b/torch@fp32:2-4", DEVICES, 4)
PROFILE = Profile(
    Fingerprint("m", "x", (("hetero", "1"),)),
    4,
    (SegmentTime("a", "torch", "fp32", "decode", 0, 4, 1, 64, (0.25, 0.5)),),
    (LinkTime("a", "b", 100, (1e-4,)),),
    refusals=(Refusal("c", "onnx", "fp32", "cannot"),),
)


def one_ride() -> Ride:
    step = Step(1.0, (StageTrace(1.1, 1.2, 1.3), StageTrace(1.4, 1.5, 1.75)), 2.0)
    return Ride((step,), (step, step), 7)


def test_rounds_in_a_file_come_back_as_they_were(tmp_path: Path) -> None:
    file, traffic = tmp_path / "rounds.json", Traffic(96, 8)
    assert load_rounds(file, PROFILE.fingerprint, traffic, DEVICES) == (Findings(), [])
    save_rounds(file, PROFILE, traffic, [Measured(PLAN, [one_ride(), one_ride()])])
    findings, (measured,) = load_rounds(file, PROFILE.fingerprint, traffic, DEVICES)
    assert findings.over(None, PROFILE.fingerprint, 4) == PROFILE
    assert measured.plan.stages == PLAN.stages and measured.rides == [one_ride(), one_ride()]


def test_rounds_of_something_else_are_not_added_to(tmp_path: Path) -> None:
    file, traffic = tmp_path / "rounds.json", Traffic(96, 8)
    save_rounds(file, PROFILE, traffic, [])
    with pytest.raises(ConfigurationError, match="rounds of other requests"):
        load_rounds(file, PROFILE.fingerprint, Traffic(96, 9), DEVICES)
    with pytest.raises(ConfigurationError, match="of another model"):
        load_rounds(file, Fingerprint("n", "x", (("hetero", "1"),)), traffic, DEVICES)
    file.write_text("{")
    with pytest.raises(ConfigurationError, match="holds no rounds"):
        load_rounds(file, PROFILE.fingerprint, traffic, DEVICES)
