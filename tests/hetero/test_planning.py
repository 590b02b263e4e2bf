from dataclasses import replace
from pathlib import Path

import pytest
from safetensors import safe_open

from hetero.models.config_reader import read_config
from hetero.planning import make_plan, plan_model
from placement import Device, DeviceKind, Layer, PlacementError, format_plan

CPU = Device("cpu", DeviceKind.CPU, ("openvino", "torch"), ("fp32", "bf16", "fp16"), 2**30)
NPU = Device("npu", DeviceKind.NPU, ("onnx",), ("fp16",), 2**30, emulated=True)
LAYERS = tuple(Layer(index, "decoder", 1000, 10, 100) for index in range(4))


def test_text_is_read_for_the_models_blocks() -> None:
    plan = make_plan("cpu:0-1,npu:1-4", (CPU, NPU), LAYERS)
    assert format_plan(plan) == "cpu/openvino@fp32:0-1,npu/onnx@fp16:1-4"


def test_no_text_takes_one_real_device() -> None:
    assert format_plan(make_plan(None, (NPU, CPU), LAYERS, precision="bf16")) == "cpu/openvino@bf16:0-4"


@pytest.mark.parametrize(("short_by", "fits"), [(0, True), (1, False)])
def test_device_must_hold_weights_and_cache_to_the_byte(short_by: int, fits: bool) -> None:
    # 4 layers and a head of 500 bytes at 2 bytes a weight, kept in fp32, and 7 tokens of cache in each layer.
    needed = (4 * 1000 + 500) * 2 + 4 * 10 * 7
    devices = (replace(CPU, memory_bytes=needed - short_by),)
    if fits:
        assert make_plan(None, devices, LAYERS, stored_bytes_per_weight=2, end_bytes=500, kv_tokens=7).block_count == 4
        return
    with pytest.raises(PlacementError, match="no single device holds the model"):
        make_plan(None, devices, LAYERS, stored_bytes_per_weight=2, end_bytes=500, kv_tokens=7)


def test_real_model_needs_its_blocks_weights_and_its_head(stories260k: Path) -> None:
    """The reference is the file itself: every tensor, and the tied head, which is a copy of the embedding."""
    with safe_open(stories260k / "model.safetensors", "numpy") as file:
        counts = {name: file.get_tensor(name).size for name in file.keys()}  # noqa: SIM118  # it is no dict
    weights = sum(counts.values())
    config = read_config(stories260k)
    exact = replace(CPU, memory_bytes=4 * weights)
    assert plan_model(stories260k, config, (exact,)).block_count == 5
    with pytest.raises(PlacementError):
        plan_model(stories260k, config, (replace(CPU, memory_bytes=4 * weights - 4),))
