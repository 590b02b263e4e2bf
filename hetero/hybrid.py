"""Plans under a policy: blocks where it trusts a device, marked layers on ciphertexts, both by what was measured.

Knows policies, devices and profiles; what is marked is said by `encrypted_marks.py`, where a layer goes by `placement`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from hetero.confinement import Confinement, trust_of
from hetero.encrypted_marks import marked_layers
from hetero.models.config import ModelConfig
from placement.constraints import Trust
from placement.encrypted import EncryptedLayer, encrypted_stage, hybrid_plan
from placement.errors import InfeasibleError
from placement.profiles import Profile
from placement.types import Device, EncryptedStage, Plan
from privacy.he.spec import ModelSpec
from privacy.policy.loading import load_policy


@dataclass(frozen=True, slots=True)
class Marks:
    """What a policy says of a model's plan: which device may see what, and which layers run on ciphertexts."""

    confinement: Confinement
    layers: tuple[ModelSpec, ...]


def read_marks(policy: Path, folder: Path, heads: Sequence[Path], files: Sequence[Path]) -> Marks:
    """Read them off the policy's file, without putting it in force. Raises PolicyError, ConfigurationError."""
    read = load_policy(policy)
    return Marks(Confinement(read.may_see), marked_layers(read, folder, heads, files))


def encrypted_stages(
    layers: Sequence[ModelSpec], devices: Sequence[Device], profile: Profile | None, trust: Trust | None
) -> tuple[EncryptedStage, ...]:
    """A stage for each layer, in their order. Raises placement.InfeasibleError where no CPU may see ciphertexts."""
    made = (EncryptedLayer(spec.name, spec.digest, spec.parameters) for spec in layers)
    return tuple(encrypted_stage(layer, devices, profile, trust) for layer in made)


def plan_under(
    marks: Marks,
    config: ModelConfig,
    devices: Sequence[Device],
    profile: Profile | None,
    blocks: Callable[[Trust], Plan],
) -> Plan:
    """`blocks` gives the plan of the blocks alone, as the trust allows; the marked layers follow it.

    Where no plan of the blocks is legal and layers are marked, the blocks are the client's. Raises
    placement.InfeasibleError where nothing is.
    """
    trust = trust_of(marks.confinement, devices, config)
    if not marks.layers:
        return blocks(trust)
    stages = encrypted_stages(marks.layers, devices, profile, trust)
    try:
        plan = blocks(trust)
    except InfeasibleError:
        plan = None
    return hybrid_plan(plan, stages, trust, config.block_count)
