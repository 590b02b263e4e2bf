"""The layers that a policy wants on ciphertexts, running beside a served model: each as an actor on its stage's CPU.

Knows the order: marks, devices, stages, actors, gateway. What is counted is the policy's ledger's; the tenants' public
keys lie in its state's folder. Ray is used, and must ask for its token, as for every model under a policy.
"""

from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from hetero.config import Settings
from hetero.encrypted_marks import ledger_caps, marked_layers
from hetero.models.config_reader import read_config
from hetero.models.source import resolve
from hetero.server.encrypted_service import Encrypted
from placement.types import Device, EncryptedStage
from privacy.he.gateway import Gateway, GatewaySettings
from privacy.he.measuring import measured_seconds
from privacy.he.spec import ModelSpec

if TYPE_CHECKING:
    from hetero.governance import Governance


@dataclass(frozen=True, slots=True)
class EncryptedStages:
    """The stages, and the service through which tenants reach them."""

    stages: tuple[EncryptedStage, ...]
    service: Encrypted


@contextmanager
def serve_marked(model: str, settings: Settings, governance: "Governance") -> Iterator[EncryptedStages | None]:
    """The marked layers of `model`, until the block ends; None where the policy marks none that is here.

    Raises ConfigurationError for a file that no rule marks, placement.InfeasibleError where no CPU may see ciphertexts,
    EncryptionError where a layer does not fit.
    """
    folder = resolve(model)
    specs = marked_layers(governance.policy, folder, settings.heads, settings.encrypted)
    if not specs:
        yield None
        return
    from hetero.cluster import connect, discover
    from hetero.cluster_token import require_token

    with ExitStack() as stack:
        cluster = stack.enter_context(connect(settings.address))
        require_token()
        stages = _stages(specs, folder, discover(cluster), settings, governance)
        yield EncryptedStages(stages, stack.enter_context(_running(specs, stages, governance)))


def _stages(
    specs: tuple[ModelSpec, ...],
    folder: Path,
    devices: tuple[Device, ...],
    settings: Settings,
    governance: "Governance",
) -> tuple[EncryptedStage, ...]:
    from hetero.confinement import Confinement, trust_of
    from hetero.hybrid import encrypted_stages
    from hetero.profiling.cache import usable_profile
    from hetero.profiling.fingerprint import fingerprint

    trust = trust_of(Confinement(governance.policy.may_see), devices, read_config(folder))
    profile, _ = usable_profile(fingerprint(folder, devices), settings.cache)
    return encrypted_stages(specs, devices, profile, trust)


@contextmanager
def _running(
    specs: tuple[ModelSpec, ...], stages: tuple[EncryptedStage, ...], governance: "Governance"
) -> Iterator[Encrypted]:
    from hetero.pipeline.actor_encrypted import EncryptedActors

    policy = governance.policy
    bounds = GatewaySettings(
        ledger_caps=ledger_caps(policy, [spec.name for spec in specs]), folder=policy.state.directory / "encrypted"
    )
    with ExitStack() as stack:
        workers = EncryptedActors(stages, specs, bounds.limits, bounds.workers)
        stack.callback(workers.close)
        gateway = stack.enter_context(closing(Gateway(specs, bounds, workers)))
        yield Encrypted(gateway, measured_seconds(gateway.pool, specs))
