"""The text form of a plan: ``DEVICE[/ENGINE][@PRECISION]:FIRST-LAST,...`` with half-open block ranges.

Layers on ciphertexts come last, each as ``CPU/encrypted@PARAMETERS:LAYER``.

Knows which devices there are and how many blocks the model has; does not know whether an engine can compile a stage.
"""

import re
from collections.abc import Sequence

from placement.constraints import Pin
from placement.errors import IncompletePlanError, PlanSyntaxError, UnknownDeviceError
from placement.types import Device, DeviceKind, EncryptedStage, Plan, Stage

FORM = "DEVICE[/ENGINE][@PRECISION]:FIRST-LAST,..."
_PART = re.compile(
    r"(?P<device>[^\s/@:,]+)(?:/(?P<engine>\w+))?(?:@(?P<precision>\w+))?:(?P<first>\d{1,9})-(?P<last>\d{1,9})",
    re.ASCII,
)
#: What stands in place of an engine where a layer is computed on ciphertexts.
ENCRYPTED = "encrypted"
_ENCRYPTED = re.compile(
    rf"(?P<device>[^\s/@:,]+)/{ENCRYPTED}(?:@(?P<parameters>[\w-]+))?:(?P<layer>[A-Za-z0-9._-]+)", re.ASCII
)


def parse_plan(text: str, devices: Sequence[Device], block_count: int, precision: str | None = None) -> Plan:
    """Read a plan such as ``cpu/openvino:0-2,npu:2-4,cpu/torch:4-5`` for a model of `block_count` blocks.

    A stage without an engine gets its device's preferred one; a stage without a precision gets `precision`, or where
    that is None `default_precision` of its device.

    Raises PlanSyntaxError, UnknownDeviceError (device, engine or precision that is not there), IncompletePlanError
    (a gap, an overlap, or blocks that the model lacks).
    """
    parts = [part.strip() for part in text.split(",")]
    plain = [part for part in parts if not _ENCRYPTED.fullmatch(part)]
    if parts[: len(plain)] != plain:
        raise PlanSyntaxError("layers on ciphertexts follow the last block, so write them at the plan's end")
    stages = tuple(_parse_stage(part, devices, precision) for part in plain)
    _check_cover(stages, block_count)
    encrypted = tuple(_parse_encrypted(part, devices) for part in parts[len(plain) :])
    return Plan(stages, "this plan was asked for", encrypted)


def parse_pins(text: str) -> tuple[Pin, ...]:
    """Read pinned ranges, written as a plan is: ``npu:0-4`` or ``npu/onnx:0-4,cpu:8-12``. Gaps are left to the placer.

    Whether there are such devices, engines and blocks is for `choose` to say. Raises PlanSyntaxError.
    """
    return tuple(_parse_pin(part.strip()) for part in text.split(","))


def _parse_pin(part: str) -> Pin:
    match = _match(part)
    return Pin(match["device"], int(match["first"]), int(match["last"]), match["engine"], match["precision"])


def _match(part: str) -> re.Match[str]:
    match = _PART.fullmatch(part)
    if match is None:
        raise PlanSyntaxError(f"the plan's part {part!r} is not of the form {FORM}, as in cpu/openvino:0-2,npu:2-4")
    return match


def format_plan(plan: Plan) -> str:
    """Write a plan so that `parse_plan` reads the same stages back, with every engine and precision named."""
    encrypted = (format_encrypted(stage) for stage in plan.encrypted)
    return ",".join([*(format_stage(stage) for stage in plan.stages), *encrypted])


def format_encrypted(stage: EncryptedStage) -> str:
    """Write an encrypted stage as ``DEVICE/encrypted@PARAMETERS:LAYER``."""
    parameters = f"@{stage.parameters}" if stage.parameters else ""
    return f"{stage.device.name}/{ENCRYPTED}{parameters}:{stage.layer}"


def format_stage(stage: Stage) -> str:
    """Write one stage as ``DEVICE/ENGINE@PRECISION:FIRST-LAST``."""
    return f"{stage.device.name}/{stage.engine}@{stage.precision}:{stage.first}-{stage.last}"


def default_precision(device: Device) -> str:
    """fp32 on CPUs, fp16 on GPUs and NPUs; where the device has not that one, the first that it has."""
    usual = "fp32" if device.kind is DeviceKind.CPU else "fp16"
    return usual if usual in device.precisions or not device.precisions else device.precisions[0]


def _parse_stage(part: str, devices: Sequence[Device], precision: str | None) -> Stage:
    match = _match(part)
    device = _find_device(match["device"], devices)
    first, last = int(match["first"]), int(match["last"])
    if first >= last:
        raise IncompletePlanError(
            f"the plan's part {part!r} holds no block: ranges are half-open, so LAST must be above FIRST"
        )
    return Stage(
        device, _engine_of(device, match["engine"]), first, last, _precision_of(device, match["precision"] or precision)
    )


def _parse_encrypted(part: str, devices: Sequence[Device]) -> EncryptedStage:
    match = _ENCRYPTED.fullmatch(part)
    assert match, "only parts that match come here"
    device = _find_device(match["device"], devices)
    if device.kind is not DeviceKind.CPU:
        raise UnknownDeviceError(f"{device.name!r} computes on no ciphertexts; only CPUs do")
    return EncryptedStage(device, match["layer"], match["parameters"] or "")


def _find_device(name: str, devices: Sequence[Device]) -> Device:
    for device in devices:
        if device.name == name:
            return device
    known = ", ".join(device.name for device in devices) or "none"
    raise UnknownDeviceError(f"there is no device {name!r}; the devices here are: {known}")


def _engine_of(device: Device, engine: str | None) -> str:
    if engine is None:
        return device.engines[0]
    if engine not in device.engines:
        known = ", ".join(device.engines)
        raise UnknownDeviceError(f"no engine {engine!r} drives device {device.name!r}; its engines are: {known}")
    return engine


def _precision_of(device: Device, precision: str | None) -> str:
    if precision is None:
        return default_precision(device)
    if precision not in device.precisions:
        known = ", ".join(device.precisions)
        raise UnknownDeviceError(f"device {device.name!r} has no precision {precision!r}; its precisions are: {known}")
    return precision


def _check_cover(stages: Sequence[Stage], block_count: int) -> None:
    reached = 0
    for stage in stages:
        if stage.first > reached:
            raise IncompletePlanError(
                f"the plan leaves blocks {reached}-{stage.first} without a device:"
                f" begin {format_stage(stage)} at {reached}, or put a stage before it"
            )
        if stage.first < reached:
            raise IncompletePlanError(
                f"the plan's stage {format_stage(stage)} overlaps the one before it, which ends at {reached};"
                f" stages stand in order, so begin it at {reached}"
            )
        reached = stage.last
    if reached < block_count:
        raise IncompletePlanError(
            f"the plan leaves blocks {reached}-{block_count} without a device: add a stage for them"
        )
    if reached > block_count:
        raise IncompletePlanError(f"the plan ends at {reached}, but the model has blocks 0-{block_count}: end it there")
