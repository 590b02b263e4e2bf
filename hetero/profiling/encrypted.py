"""Times of encrypted layers on the CPUs of a cluster, each measured where and as it would run: by an actor of its own.

Knows stages and specs; the measuring itself is `privacy.he.measuring`'s. Ray must be connected.
"""

from collections.abc import Sequence
from contextlib import closing

from hetero.pipeline.actor_encrypted import EncryptedActors
from hetero.profiling.measuring import Tell
from placement.profiles import EncryptedTime, Profile
from placement.types import Device, DeviceKind, EncryptedStage
from privacy.he.measuring import Rounds, measure_rounds
from privacy.he.spec import ModelSpec

ROUNDS = 7


def measure_encrypted(
    specs: Sequence[ModelSpec], devices: Sequence[Device], known: Profile | None, tell: Tell
) -> list[EncryptedTime]:
    """What is not `known` yet of these layers on those of `devices` that are CPUs. Raises EncryptionError."""
    measured = {(time.device, time.layer) for time in (known.encrypted if known else ())}
    found = []
    for device in devices:
        wanted = [spec for spec in specs if (device.name, spec.digest) not in measured]
        if device.kind is DeviceKind.CPU and wanted:
            stages = [EncryptedStage(device, spec.name, spec.parameters) for spec in wanted]
            with closing(EncryptedActors(stages, wanted)) as workers:
                for spec in wanted:
                    tell(0, 0, f"{spec.name} on ciphertexts on {device.name}")
                    found.append(_time(device, measure_rounds(workers, spec, rounds=ROUNDS)))
    return found


def _time(device: Device, measured: Rounds) -> EncryptedTime:
    rounds = measured.rounds
    return EncryptedTime(
        device.name,
        measured.spec.digest,
        measured.description.vectors,
        rounds[-1].sent_bytes,
        rounds[-1].answered_bytes,
        measured.key_bytes,
        tuple(each.round_seconds for each in rounds),
        tuple(each.client_seconds for each in rounds),
    )
