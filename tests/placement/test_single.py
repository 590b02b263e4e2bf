import pytest

from placement import Demand, Device, DeviceKind, Layer, PlacementError, demand_of, single_device_plan

GIB = 2**30
CPU = Device("cpu", DeviceKind.CPU, ("openvino",), ("fp32", "bf16", "fp16"), 16 * GIB)
GPU = Device("gpu0", DeviceKind.GPU, ("torch",), ("fp32", "bf16", "fp16"), 8 * GIB)
REAL_NPU = Device("npu", DeviceKind.NPU, ("openvino",), ("fp16",), 4 * GIB)
EMULATED = Device("npu", DeviceKind.NPU, ("onnx",), ("fp16",), 64 * GIB, emulated=True)
FAR_CPU = Device("rack2.cpu", DeviceKind.CPU, ("openvino",), ("fp32",), 256 * GIB)


@pytest.mark.parametrize(
    ("devices", "weight_gibi", "precision", "chosen"),
    [
        ((CPU, GPU, REAL_NPU), 1, None, "gpu0"),
        ((CPU, REAL_NPU), 1, None, "npu"),
        ((CPU, EMULATED), 1, None, "cpu"),
        ((CPU, GPU), 5, None, None),  # 10 GiB on the GPU in fp16, 20 GiB on the CPU in fp32: neither holds it
        ((CPU, GPU), 5, "bf16", "cpu"),
        ((CPU, GPU), 3, None, "gpu0"),
        ((CPU, REAL_NPU), 1, "bf16", "cpu"),
        ((CPU, FAR_CPU), 1, None, "cpu"),
        ((CPU, FAR_CPU), 40, None, "rack2.cpu"),
        ((EMULATED,), 1, None, None),
        ((), 1, None, None),
    ],
)
def test_single_device_is_the_best_that_holds_the_model(
    devices: tuple[Device, ...], weight_gibi: int, precision: str | None, chosen: str | None
) -> None:
    demand = Demand(block_count=12, weight_count=weight_gibi * GIB, kv_bytes=0)
    if chosen is None:
        with pytest.raises(PlacementError, match="no single device holds the model"):
            single_device_plan(devices, demand, precision)
        return
    plan = single_device_plan(devices, demand, precision)
    assert [(stage.device.name, stage.first, stage.last) for stage in plan.stages] == [(chosen, 0, 12)]


def test_reason_names_the_device_and_what_was_left_out() -> None:
    plan = single_device_plan((CPU, EMULATED), Demand(5, 1024, 0))
    assert "all 5 blocks fit on cpu" in plan.reason
    assert "npu is left out because it is emulated" in plan.reason


def test_demand_counts_weights_ends_and_cache() -> None:
    layers = [Layer(index, "decoder", 200, 8, 0) for index in range(3)]
    demand = demand_of(layers, stored_bytes_per_weight=2, end_bytes=100, kv_tokens=10)
    assert demand == Demand(block_count=3, weight_count=350, kv_bytes=240)
    assert demand.bytes_at("fp32") == 350 * 4 + 240
    assert demand.bytes_at("bf16") == 350 * 2 + 240
