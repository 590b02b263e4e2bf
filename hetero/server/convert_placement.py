"""Between wire messages and our own types, both ways, and nothing else: devices, plans, reports of stages."""

from collections.abc import Mapping
from typing import TypeVar

from hetero.backends.base import SliceReport
from hetero.errors import ConfigurationError
from hetero.v1 import placement_pb2 as wire
from placement.types import Device, DeviceKind, EncryptedStage, Plan, Stage

_DEVICE_KINDS = {
    DeviceKind.CPU: wire.DEVICE_KIND_CPU,
    DeviceKind.GPU: wire.DEVICE_KIND_GPU,
    DeviceKind.NPU: wire.DEVICE_KIND_NPU,
}
_FROM_DEVICE_KIND = {value: key for key, value in _DEVICE_KINDS.items()}

K = TypeVar("K")
T = TypeVar("T")


def known(meanings: Mapping[K, T], value: K, what: str) -> T:
    """What an enum's value means. Raises ConfigurationError for one that only a newer server can have sent."""
    if value not in meanings:
        raise ConfigurationError(f"the server tells of {what} {value}, which is unknown here; update this client")
    return meanings[value]


def plan_to_wire(plan: Plan) -> wire.Plan:
    encrypted = [_encrypted_to_wire(stage) for stage in plan.encrypted]
    return wire.Plan(stages=[_stage_to_wire(stage) for stage in plan.stages], reason=plan.reason, encrypted=encrypted)


def plan_from_wire(plan: wire.Plan) -> Plan:
    encrypted = tuple(_encrypted_from_wire(stage) for stage in plan.encrypted)
    return Plan(tuple(_stage_from_wire(stage) for stage in plan.stages), plan.reason, encrypted)


def _stage_to_wire(stage: Stage) -> wire.Stage:
    return wire.Stage(
        device=device_to_wire(stage.device),
        engine=stage.engine,
        first=stage.first,
        last=stage.last,
        precision=stage.precision,
        predicted_seconds=stage.predicted_seconds,
    )


def _stage_from_wire(stage: wire.Stage) -> Stage:
    predicted = stage.predicted_seconds if stage.HasField("predicted_seconds") else None
    return Stage(device_from_wire(stage.device), stage.engine, stage.first, stage.last, stage.precision, predicted)


def _encrypted_to_wire(stage: EncryptedStage) -> wire.EncryptedStage:
    return wire.EncryptedStage(
        device=device_to_wire(stage.device),
        layer=stage.layer,
        parameters=stage.parameters,
        predicted_seconds=stage.predicted_seconds,
        client_seconds=stage.client_seconds,
        sent_bytes=stage.sent_bytes,
        answered_bytes=stage.answered_bytes,
    )


def _encrypted_from_wire(stage: wire.EncryptedStage) -> EncryptedStage:
    return EncryptedStage(
        device_from_wire(stage.device),
        stage.layer,
        stage.parameters,
        stage.predicted_seconds if stage.HasField("predicted_seconds") else None,
        stage.client_seconds if stage.HasField("client_seconds") else None,
        stage.sent_bytes if stage.HasField("sent_bytes") else None,
        stage.answered_bytes if stage.HasField("answered_bytes") else None,
    )


def device_to_wire(device: Device) -> wire.Device:
    return wire.Device(
        name=device.name,
        kind=_DEVICE_KINDS[device.kind],
        engines=device.engines,
        precisions=device.precisions,
        memory_bytes=device.memory_bytes,
        description=device.description,
        emulated=device.emulated,
        static_shapes=device.static_shapes,
        node=device.node,
        node_id=device.node_id,
        cores=device.cores,
    )


def device_from_wire(device: wire.Device) -> Device:
    return Device(
        device.name,
        known(_FROM_DEVICE_KIND, device.kind, "a kind of device"),
        tuple(device.engines),
        tuple(device.precisions),
        device.memory_bytes,
        device.description,
        device.emulated,
        device.static_shapes,
        device.node,
        device.node_id,
        tuple(device.cores),
    )


def report_to_wire(report: SliceReport) -> wire.SliceReport:
    return wire.SliceReport(
        engine=report.engine,
        engine_version=report.engine_version,
        device=report.device,
        precision=report.precision,
        weight_bytes=report.weight_bytes,
        kv_bytes=report.kv_bytes,
        compile_seconds=report.compile_seconds,
    )


def report_from_wire(report: wire.SliceReport) -> SliceReport:
    return SliceReport(
        report.engine,
        report.engine_version,
        report.device,
        report.precision,
        report.weight_bytes,
        report.kv_bytes,
        report.compile_seconds,
    )
