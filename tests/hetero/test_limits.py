"""How many batches may be in flight for a plan, and which plans can draft."""

from pathlib import Path

import pytest

from hetero.errors import ConfigurationError
from hetero.limits import drafts, useful_micro_batches
from hetero.models.config_reader import read_config
from placement import parse_plan
from placement.types import Device, DeviceKind

DEVICES = tuple(
    Device(name, kind, ("openvino", "torch"), ("fp32",), 1 << 30)
    for name, kind in (("cpu", DeviceKind.CPU), ("npu", DeviceKind.NPU), ("gpu0", DeviceKind.GPU))
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("cpu:0-6", 1),
        ("cpu/openvino:0-3,cpu/torch:3-6", 1),
        ("cpu/openvino:0-2,npu:2-4,cpu/torch:4-6", 2),
        ("cpu:0-2,npu:2-4,gpu0:4-6", 3),
    ],
)
def test_batches_in_flight_are_as_many_as_devices(text: str, expected: int) -> None:
    assert useful_micro_batches(parse_plan(text, DEVICES, 6, "fp32")) == expected


def test_decoder_in_several_stages_can_draft(stories260k: Path) -> None:
    config = read_config(stories260k)
    assert drafts(config, parse_plan("cpu:0-2,cpu:2-5", DEVICES, 5, "fp32"), "verify")
    assert not drafts(config, parse_plan("cpu:0-2,cpu:2-5", DEVICES, 5, "fp32"), "auto")


def test_drafting_with_one_stage_is_refused_with_a_way_out(stories260k: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"one stage; cut it .* cpu:0-1,cpu:1-5"):
        drafts(read_config(stories260k), parse_plan("cpu:0-5", DEVICES, 5, "fp32"), "verify")


def test_encoder_does_not_draft(minilm: Path) -> None:
    with pytest.raises(ConfigurationError, match="encoder"):
        drafts(read_config(minilm), parse_plan("cpu:0-3,cpu:3-6", DEVICES, 6, "fp32"), "verify")
