"""Where a layer is computed on ciphertexts: the cheapest CPU that may see them, apart from whoever sees the text.

Knows clearances and measured times; neither keys nor arithmetic. Encryption protects from whoever must not see the
text, so the blocks before it run elsewhere: on devices that the policy trusts, or with the client.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from placement.constraints import DataLabel, Trust
from placement.errors import InfeasibleError
from placement.profiles import EncryptedTime, Profile
from placement.types import Device, DeviceKind, EncryptedStage, Plan, Stage

#: Stands for whatever the client runs the blocks on; it sees its own text, and its times are its own.
CLIENT = Device("client", DeviceKind.CPU, ("own",), ("fp32",), 0, "whoever asks, on devices of its own")


@dataclass(frozen=True, slots=True)
class EncryptedLayer:
    """A layer that a policy marks: its name, the digest that measurements are kept under, its parameter set."""

    name: str
    digest: str
    parameters: str


def at_client(block_count: int) -> Stage:
    """All blocks with the client."""
    return Stage(CLIENT, CLIENT.engines[0], 0, block_count, CLIENT.precisions[0])


def encrypted_stage(
    layer: EncryptedLayer, devices: Sequence[Device], profile: Profile | None, trust: Trust | None
) -> EncryptedStage:
    """The stage of `layer` on the CPU of `devices` that is done first, of those that may see ciphertexts.

    CPUs that may not see more come first, for it is from those that encryption protects; then those that were measured,
    the fastest first; then the others in their order. Without `trust` every CPU may. Raises InfeasibleError where no
    CPU may.
    """
    times = {time.device: time for time in (profile.encrypted if profile else ()) if time.layer == layer.digest}
    able = [device for device in devices if device.kind is DeviceKind.CPU and _may_hold(device, trust)]
    if not able:
        raise InfeasibleError(
            f"the policy lets no CPU see ciphertext, so none can hold {layer.name}; give one the clearance"
        )

    def preference(device: Device) -> tuple[bool, float]:
        time = times.get(device.name)
        return sees_text(device, trust), median(time.seconds) if time else float("inf")

    best = min(able, key=preference)
    return _stage(best, layer, times.get(best.name))


def hybrid_plan(plan: Plan | None, encrypted: Sequence[EncryptedStage], trust: Trust | None, block_count: int) -> Plan:
    """The blocks of `plan`, on devices that the policy trusts, and then the encrypted stages.

    The blocks are the client's where `plan` is None, or where a stage's device sees the text anyway: to encrypt from
    it what it has seen in the clear would hide nothing.
    """
    apart = plan is not None and not any(sees_text(stage.device, trust) for stage in encrypted)
    names = ", ".join(stage.layer for stage in encrypted)
    if plan is not None and apart:
        reason = f"{plan.reason}; then {names} on ciphertexts"
        return Plan(plan.stages, reason, tuple(encrypted))
    reason = f"the blocks run with the client, who encrypts what they give, for the policy asks that of {names}"
    return Plan((at_client(block_count),), reason, tuple(encrypted))


def sees_text(device: Device, trust: Trust | None) -> bool:
    """Whether the device may see the text, or what leads back to it."""
    return trust is None or trust.permits(device.name, DataLabel.EMBEDDING)


def _may_hold(device: Device, trust: Trust | None) -> bool:
    return trust is None or trust.permits(device.name, DataLabel.CIPHERTEXT)


def _stage(device: Device, layer: EncryptedLayer, time: EncryptedTime | None) -> EncryptedStage:
    if time is None:
        return EncryptedStage(device, layer.name, layer.parameters)
    return EncryptedStage(
        device,
        layer.name,
        layer.parameters,
        median(time.seconds),
        median(time.client_seconds),
        time.sent_bytes,
        time.answered_bytes,
    )
