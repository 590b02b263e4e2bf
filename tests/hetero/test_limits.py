"""How many batches may be in flight for a plan, and which plans can draft."""

from pathlib import Path

import pytest

from hetero.errors import ConfigurationError
from hetero.limits import choose_draft_depth, useful_micro_batches
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


def test_decoder_in_several_stages_drafts_with_its_first(stories260k: Path) -> None:
    config = read_config(stories260k)
    plan = parse_plan("cpu:0-2,cpu:2-5", DEVICES, 5, "fp32")
    assert choose_draft_depth(stories260k, config, plan, "verify", None) == 2
    assert choose_draft_depth(stories260k, config, plan, "verify", 1) == 1
    assert choose_draft_depth(stories260k, config, plan, "auto", None) == 0


def test_decoder_in_one_stage_drafts_where_it_is_told_to(stories260k: Path) -> None:
    config, plan = read_config(stories260k), parse_plan("cpu:0-5", DEVICES, 5, "fp32")
    assert choose_draft_depth(stories260k, config, plan, "verify", 3) == 3
    with pytest.raises(ConfigurationError, match=r"one stage; train .* --draft-depth 1"):
        choose_draft_depth(stories260k, config, plan, "verify", None)


@pytest.mark.parametrize("depth", [-1, 3, 9])
def test_exit_that_drafts_lies_in_the_first_stage(stories260k: Path, depth: int) -> None:
    config, plan = read_config(stories260k), parse_plan("cpu:0-2,cpu:2-5", DEVICES, 5, "fp32")
    with pytest.raises(ConfigurationError, match="from 1 to 2"):
        choose_draft_depth(stories260k, config, plan, "verify", depth)


def test_encoder_does_not_draft(minilm: Path) -> None:
    with pytest.raises(ConfigurationError, match="encoder"):
        choose_draft_depth(
            minilm, read_config(minilm), parse_plan("cpu:0-3,cpu:3-6", DEVICES, 6, "fp32"), "verify", None
        )
