"""What a policy demands of where a model runs: which device may see which data. From clearances to a mask and a check.

Knows devices, plans and the labels of `placement.constraints`; the policy itself only as the function that says what a
device may see.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from hetero.cores import core_devices, whole_cpu
from hetero.models.config import EncoderConfig, ModelConfig
from placement.constraints import DataLabel, Trust
from placement.errors import InfeasibleError
from placement.types import Device, Plan, Stage


@dataclass(frozen=True, slots=True)
class Confinement:
    """`may_see(device, node)` gives the names of the data labels that a device may see; `node` "" is the driver's own.

    A runtime that is confined also asks that Ray wants a token of everyone: who can submit a job sees all there is.
    `may_exit`: some request may stop at an exit; which ones, its decision says.
    """

    may_see: Callable[[str, str], frozenset[str]]
    may_exit: bool = False


def trust_of(confinement: Confinement, devices: Sequence[Device], config: ModelConfig) -> Trust:
    """The mask for the placer: the clearances of `devices` and of the cores of their CPUs.

    A core may see what its CPU may. Whatever leaves an encoder's last block is an embedding or logits.
    """
    every = (*devices, *core_devices(devices))
    clearances = {
        device.name: frozenset(map(DataLabel, confinement.may_see(whole_cpu(device.name), device.node)))
        for device in every
    }
    return Trust(clearances, _boundary_labels(config))


def _boundary_labels(config: ModelConfig) -> tuple[DataLabel, ...]:
    embeds = isinstance(config, EncoderConfig) and not config.labels
    last = DataLabel.EMBEDDING if embeds else DataLabel.LOGITS
    return (DataLabel.RAW_TOKENS, *[DataLabel.HIDDEN] * (config.block_count - 1), last)


def sees_everything(device: Device, trust: Trust, block_count: int) -> bool:
    """Whether the device may hold the whole model."""
    return all(trust.permits(device.name, label) for label in trust.labels(block_count))


def check_trusted(plan: Plan, trust: Trust) -> None:
    """Raise placement.InfeasibleError where a stage of the plan would see what its device may not."""
    for stage in plan.stages:
        unseen = _forbidden(stage, trust, plan.block_count)
        if unseen:
            raise InfeasibleError(
                f"the policy does not let {stage.device.name} see {unseen[0].value}, which it would as the holder of "
                f"blocks {stage.first} to {stage.last}; give it the clearance or plan without it"
            )


def _forbidden(stage: Stage, trust: Trust, block_count: int) -> list[DataLabel]:
    """What the stage sees and may not: every boundary from before its first block to after its last."""
    seen = trust.labels(block_count)[stage.first : stage.last + 1]
    return [label for label in dict.fromkeys(seen) if not trust.permits(stage.device.name, label)]
