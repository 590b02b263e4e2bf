"""Where each stage's actor goes and what it asks of Ray there.

Knows nodes, resources and scheduling; knows neither sockets nor models.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from hetero.cluster import Node
from hetero.errors import ConfigurationError
from hetero.pipeline.base import stage_label
from placement.types import DeviceKind, Plan, Stage

#: The custom resource of a node with an NPU. Ray's own name NPU means another maker's accelerators.
NPU_RESOURCE = "hetero_npu"
#: Without it Ray hides all GPUs but the ones it picked, and `gpu1` of the plan would not be the second any more.
GPU_ENVIRONMENT = {"RAY_EXPERIMENTAL_NOSET_CUDA_VISIBLE_DEVICES": "1"}


@dataclass(frozen=True, slots=True)
class Place:
    """A stage's node, and the resources that its actor asks for."""

    node: Node
    cpus: float
    gpus: float
    npus: float

    def options(self) -> dict[str, Any]:
        """The keyword arguments of an actor's `options`."""
        return {
            "num_cpus": self.cpus,
            "num_gpus": self.gpus,
            "resources": {NPU_RESOURCE: self.npus} if self.npus else {},
            "scheduling_strategy": NodeAffinitySchedulingStrategy(self.node.id, soft=False),
            "runtime_env": {"env_vars": GPU_ENVIRONMENT} if self.gpus else {},
            "max_restarts": 0,
            "max_task_retries": 0,
        }

    def __str__(self) -> str:
        asked = {"CPU": self.cpus, "GPU": self.gpus, NPU_RESOURCE: self.npus}
        wanted = ", ".join(f"{amount:g} {name}" for name, amount in asked.items() if amount)
        return f"{wanted} on node {self.node.name or self.node.address}"


def places(plan: Plan, nodes: Sequence[Node]) -> tuple[Place, ...]:
    """The place of every stage. Stages of one node share one CPU, stages of one GPU or NPU share that.

    Stages of a pipeline take turns, so that a share of a CPU says how busy they are, not how many threads they run.
    Raises ConfigurationError if a stage's node is not in the cluster.
    """
    homes = [_home(index, stage, nodes) for index, stage in enumerate(plan.stages)]
    on_node = Counter(home.id for home in homes)
    on_device = Counter((home.id, stage.device.name) for home, stage in zip(homes, plan.stages, strict=True))
    return tuple(
        _place(stage.device.kind, home, on_node[home.id], on_device[home.id, stage.device.name])
        for home, stage in zip(homes, plan.stages, strict=True)
    )


def _home(index: int, stage: Stage, nodes: Sequence[Node]) -> Node:
    for node in nodes:
        if node.id == stage.device.node_id or (not stage.device.node_id and node.name == stage.device.node):
            return node
    names = ", ".join(node.name or "the driver's" for node in nodes)
    raise ConfigurationError(
        f"{stage_label(index, stage)} belongs on a node that is not in the cluster; the nodes are: {names}"
    )


def _place(kind: DeviceKind, node: Node, stages_on_node: int, stages_on_device: int) -> Place:
    gpus = _share(stages_on_device) if kind is DeviceKind.GPU and node.resources.get("GPU") else 0.0
    npus = _share(stages_on_device) if kind is DeviceKind.NPU and node.resources.get(NPU_RESOURCE) else 0.0
    return Place(node, _share(stages_on_node), gpus, npus)


def _share(count: int) -> float:
    """One divided by `count`, rounded down to the ten-thousandths in which Ray counts."""
    return int(10_000 / count) / 10_000
