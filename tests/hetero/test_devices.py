import pytest

from hetero.devices import local_devices, merge_devices
from placement import Device, DeviceKind

CPU_TORCH = Device("cpu", DeviceKind.CPU, ("torch",), ("fp32", "bf16"), 900)
CPU_OPENVINO = Device("cpu", DeviceKind.CPU, ("openvino",), ("fp32", "fp16"), 1000, description="EPYC")
GPU_ONNX = Device("gpu0", DeviceKind.GPU, ("onnx",), ("fp16",), 5000)
GPU_TORCH = Device("gpu0", DeviceKind.GPU, ("torch",), ("fp32", "fp16"), 5000)
EMULATED = Device("npu", DeviceKind.NPU, ("onnx",), ("fp16",), 100, emulated=True)
REAL = Device("npu", DeviceKind.NPU, ("openvino",), ("fp16",), 200)


def test_devices_of_one_name_join_with_the_preferred_engine_first() -> None:
    (cpu,) = merge_devices([CPU_TORCH, CPU_OPENVINO])
    assert cpu.engines == ("openvino", "torch")
    assert cpu.precisions == ("fp32", "fp16", "bf16")
    assert cpu.memory_bytes == 900
    assert cpu.description == "EPYC"


def test_gpu_prefers_torch_over_onnx() -> None:
    assert merge_devices([GPU_ONNX, GPU_TORCH])[0].engines == ("torch", "onnx")


@pytest.mark.parametrize("found", [[EMULATED, REAL], [REAL, EMULATED]])
def test_real_device_displaces_the_emulated_one(found: list[Device]) -> None:
    assert merge_devices(found) == (REAL,)


def test_devices_come_in_the_order_of_kinds() -> None:
    assert [device.name for device in merge_devices([EMULATED, GPU_TORCH, CPU_TORCH])] == ["cpu", "gpu0", "npu"]


def test_this_machine_has_a_cpu_driven_by_three_engines_and_a_labelled_npu() -> None:
    devices = {device.name: device for device in local_devices()}
    assert devices["cpu"].engines == ("openvino", "torch", "onnx")
    assert {"fp32", "bf16", "fp16"} >= set(devices["cpu"].precisions) >= {"fp32"}
    assert devices["cpu"].memory_bytes > 2**28
    assert devices["npu"].static_shapes
    assert devices["npu"].description
