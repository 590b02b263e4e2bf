"""Encrypted stages: on which CPU, beside which blocks, and how they are written."""

import pytest

from placement import (
    DataLabel,
    Device,
    DeviceKind,
    EncryptedLayer,
    EncryptedTime,
    Fingerprint,
    InfeasibleError,
    Plan,
    PlanSyntaxError,
    Profile,
    Stage,
    Trust,
    UnknownDeviceError,
    encrypted_stage,
    format_plan,
    hybrid_plan,
    parse_plan,
)
from placement.encrypted import CLIENT

CPU = Device("cpu", DeviceKind.CPU, ("torch",), ("fp32",), 2**34)
FAR = Device("rack.cpu", DeviceKind.CPU, ("torch",), ("fp32",), 2**34, node="rack")
GPU = Device("gpu0", DeviceKind.GPU, ("torch",), ("fp16",), 2**34)
DEVICES = (GPU, CPU, FAR)
LAYER = EncryptedLayer("mood", "d" * 64, "ckks-8192-1")
TEXT, SEALED = frozenset({DataLabel.RAW_TOKENS}), frozenset({DataLabel.CIPHERTEXT})
BLOCKS = Plan((Stage(CPU, "torch", 0, 6, "fp32"),), "it is trusted")


def profile(**seconds: float) -> Profile:
    times = [
        EncryptedTime({"cpu": "cpu", "far": "rack.cpu"}[name], LAYER.digest, 4, 120, 130, 4000, (each,), (0.01,))
        for name, each in seconds.items()
    ]
    return Profile(Fingerprint("m", "here", ()), 6, encrypted=tuple(times))


@pytest.mark.parametrize(
    ("clearances", "measured", "chosen"),
    [
        ({"cpu": SEALED, "rack.cpu": SEALED}, {"cpu": 0.03, "far": 0.02}, "rack.cpu"),
        ({"cpu": SEALED, "rack.cpu": SEALED}, {"cpu": 0.03}, "cpu"),
        ({"cpu": SEALED}, {"cpu": 0.03, "far": 0.02}, "cpu"),
        ({"cpu": TEXT, "rack.cpu": SEALED}, {"cpu": 0.02, "far": 0.03}, "rack.cpu"),
        ({"cpu": TEXT}, {}, "cpu"),
    ],
)
def test_the_stage_goes_to_the_fastest_cpu_that_may_see_ciphertexts_and_best_nothing_else(
    clearances: dict[str, frozenset[DataLabel]], measured: dict[str, float], chosen: str
) -> None:
    stage = encrypted_stage(LAYER, DEVICES, profile(**measured), Trust(clearances))
    assert stage.device.name == chosen
    known = {"cpu": "cpu", "rack.cpu": "far"}[chosen] in measured
    assert (stage.predicted_seconds is not None, stage.sent_bytes) == (known, 120 if known else None)


def test_no_cpu_that_may_see_ciphertexts_is_a_refusal() -> None:
    with pytest.raises(InfeasibleError, match="lets no CPU see ciphertext"):
        encrypted_stage(LAYER, DEVICES, None, Trust({"gpu0": SEALED}))


def test_blocks_stay_on_trusted_devices_only_apart_from_the_encrypted_stage() -> None:
    apart = Trust({"cpu": TEXT, "rack.cpu": SEALED})
    far = (encrypted_stage(LAYER, DEVICES, None, apart),)
    assert format_plan(hybrid_plan(BLOCKS, far, apart, 6)) == ("cpu/torch@fp32:0-6,rack.cpu/encrypted@ckks-8192-1:mood")
    alone = Trust({"cpu": TEXT})
    near = (encrypted_stage(LAYER, DEVICES, None, alone),)
    assert hybrid_plan(BLOCKS, near, alone, 6).stages[0].device == CLIENT
    assert hybrid_plan(None, far, apart, 6).stages[0].device == CLIENT


def test_plans_with_encrypted_stages_are_written_and_read() -> None:
    text = "client/own@fp32:0-6,cpu/encrypted@ckks-8192-1:mood,rack.cpu/encrypted@ckks-8192-1:pooler.dense"
    plan = parse_plan(text, (*DEVICES, CLIENT), 6)
    assert format_plan(plan) == text and [stage.layer for stage in plan.encrypted] == ["mood", "pooler.dense"]
    assert parse_plan("cpu:0-6,cpu/encrypted:mood", DEVICES, 6).encrypted[0].parameters == ""
    with pytest.raises(PlanSyntaxError, match="at the plan's end"):
        parse_plan("cpu/encrypted:mood,cpu:0-6", DEVICES, 6)
    with pytest.raises(UnknownDeviceError, match="computes on no ciphertexts"):
        parse_plan("cpu:0-6,gpu0/encrypted:mood", DEVICES, 6)
