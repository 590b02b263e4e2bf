import pytest
from hypothesis import given
from hypothesis import strategies as st

from placement import (
    Device,
    DeviceKind,
    IncompletePlanError,
    PlacementError,
    PlanSyntaxError,
    UnknownDeviceError,
    format_plan,
    parse_plan,
)

CPU = Device("cpu", DeviceKind.CPU, ("openvino", "torch", "onnx"), ("fp32", "bf16", "fp16"), 2**34)
NPU = Device("npu", DeviceKind.NPU, ("onnx",), ("fp16",), 2**31, emulated=True)
GPU = Device("gpu0", DeviceKind.GPU, ("torch",), ("fp32", "bf16", "fp16"), 2**36)
FAR = Device("rack2.cpu", DeviceKind.CPU, ("openvino",), ("bf16", "fp16"), 2**34)
DEVICES = (CPU, GPU, NPU, FAR)


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("cpu:0-5", "cpu/openvino@fp32:0-5"),
        ("cpu/openvino:0-2,npu:2-4,cpu/torch:4-5", "cpu/openvino@fp32:0-2,npu/onnx@fp16:2-4,cpu/torch@fp32:4-5"),
        (" cpu:0-1 , gpu0@bf16:1-5 ", "cpu/openvino@fp32:0-1,gpu0/torch@bf16:1-5"),
        ("gpu0:0-5", "gpu0/torch@fp16:0-5"),
        ("rack2.cpu:0-5", "rack2.cpu/openvino@bf16:0-5"),
    ],
)
def test_plan_reads_with_defaults_filled_in(text: str, written: str) -> None:
    assert format_plan(parse_plan(text, DEVICES, 5)) == written


def test_plan_takes_asked_precision_where_a_stage_names_none() -> None:
    plan = parse_plan("cpu:0-2,gpu0@fp16:2-5", DEVICES, 5, precision="bf16")
    assert [stage.precision for stage in plan.stages] == ["bf16", "fp16"]


@pytest.mark.parametrize(
    ("text", "error", "said"),
    [
        ("", PlanSyntaxError, "DEVICE[/ENGINE][@PRECISION]:FIRST-LAST"),
        ("cpu", PlanSyntaxError, "'cpu'"),
        ("cpu:0-5,", PlanSyntaxError, "''"),
        ("cpu:0-5;npu:2-3", PlanSyntaxError, "as in cpu/openvino:0-2"),
        ("cpu:-1-5", PlanSyntaxError, "'cpu:-1-5'"),
        ("cpu:0-\u0665", PlanSyntaxError, "form"),
        ("gpu7:0-5", UnknownDeviceError, "the devices here are: cpu, gpu0, npu, rack2.cpu"),
        ("cpu/cuda:0-5", UnknownDeviceError, "its engines are: openvino, torch, onnx"),
        ("npu@bf16:0-5", UnknownDeviceError, "its precisions are: fp16"),
        ("cpu:0-2,cpu:3-5", IncompletePlanError, "leaves blocks 2-3"),
        ("cpu:1-5", IncompletePlanError, "leaves blocks 0-1"),
        ("cpu:0-3,npu:2-5", IncompletePlanError, "overlaps the one before it, which ends at 3"),
        ("npu:2-5,cpu:0-2", IncompletePlanError, "leaves blocks 0-2"),
        ("cpu:0-4", IncompletePlanError, "leaves blocks 4-5"),
        ("cpu:0-6", IncompletePlanError, "the model has blocks 0-5"),
        ("cpu:2-2", IncompletePlanError, "LAST must be above FIRST"),
    ],
)
def test_plan_is_refused_with_the_way_out(text: str, error: type[PlacementError], said: str) -> None:
    with pytest.raises(error) as caught:
        parse_plan(text, DEVICES, 5)
    assert type(caught.value) is error
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


@st.composite
def covers(draw: st.DrawFn) -> tuple[str, int]:
    """A plan's text that covers 0-N in order, and N."""
    cuts = sorted(draw(st.sets(st.integers(1, 60), min_size=1, max_size=6)))
    names = draw(st.lists(st.sampled_from(["cpu", "gpu0", "npu", "cpu/torch"]), min_size=len(cuts), max_size=len(cuts)))
    parts = [f"{name}:{first}-{last}" for name, first, last in zip(names, [0, *cuts], cuts, strict=False)]
    return ",".join(parts), cuts[-1]


@given(covers())
def test_plan_written_and_read_again_is_the_same(cover: tuple[str, int]) -> None:
    plan = parse_plan(cover[0], DEVICES, cover[1])
    assert parse_plan(format_plan(plan), DEVICES, cover[1]) == plan
    assert plan.block_count == cover[1] == sum(stage.block_count for stage in plan.stages)


@given(st.text(alphabet="cpungu0123456789-:/@,. ", max_size=40))
def test_plan_of_any_text_is_read_or_refused_as_placement_error(text: str) -> None:
    try:
        plan = parse_plan(text, DEVICES, 5)
    except PlacementError:
        return
    assert plan.stages[0].first == 0
    assert plan.block_count == 5
