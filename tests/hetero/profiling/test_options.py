"""What there is to measure, and in which order."""

import pytest

from hetero.profiling.options import list_options, segment_ranges, sharing_pairs
from placement import Device, DeviceKind, UnknownDeviceError

CPU = Device("cpu", DeviceKind.CPU, ("openvino", "torch"), ("fp32", "bf16"), 1, cores=(0, 1))
CORE = Device("cpu-core1", DeviceKind.CPU, ("openvino",), ("fp32",), 1, cores=(1,))
GPU = Device("gpu0", DeviceKind.GPU, ("torch",), ("fp16", "fp32"), 1)
NPU = Device("npu", DeviceKind.NPU, ("onnx",), ("fp16",), 1, emulated=True)
FAR = Device("far.cpu", DeviceKind.CPU, ("torch",), ("fp32",), 1, node="far")


def test_real_devices_come_first_with_their_preferred_engines_and_usual_precisions() -> None:
    named = [str(option) for option in list_options((NPU, CPU, GPU))]
    assert named == ["cpu/openvino@fp32", "gpu0/torch@fp16", "cpu/torch@fp32", "npu/onnx@fp16"]


def test_precisions_that_are_asked_for_come_after_usual_ones_and_only_where_they_are() -> None:
    named = [str(option) for option in list_options((CPU, NPU), ("openvino", "onnx"), ("bf16", "fp32"))]
    assert named == ["cpu/openvino@fp32", "cpu/openvino@bf16"]


@pytest.mark.parametrize(("engines", "precisions"), [(("cuda",), ()), ((), ("int3",))])
def test_unknown_engine_or_precision_is_refused(engines: tuple[str, ...], precisions: tuple[str, ...]) -> None:
    with pytest.raises(UnknownDeviceError, match="no device has the"):
        list_options((CPU,), engines, precisions)


@pytest.mark.parametrize(
    ("count", "ranges"),
    [
        (1, ((0, 1),)),
        (3, ((0, 1), (1, 2), (2, 3))),
        (4, ((0, 1), (1, 2), (2, 3), (3, 4))),
        (6, ((0, 1), (1, 2), (2, 5), (5, 6))),
        (80, ((0, 1), (1, 2), (2, 10), (79, 80))),
    ],
)
def test_segments_are_first_inner_several_and_last(count: int, ranges: tuple[tuple[int, int], ...]) -> None:
    assert segment_ranges(count) == ranges


def test_what_computes_on_one_nodes_cpus_shares_them() -> None:
    pairs = [(one.name, other.name) for one, other in sharing_pairs((CPU, CORE, GPU, NPU, FAR))]
    assert pairs == [("cpu", "cpu-core1"), ("cpu", "npu"), ("cpu-core1", "npu")]
