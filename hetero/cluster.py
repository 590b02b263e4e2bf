"""The Ray cluster that stages run on: start a local one or join an existing one, and see what its nodes own.

Knows nodes and devices; knows neither models nor plans. Ray is imported when a cluster is asked for, not before.
"""

import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from hetero.cluster_start import first_line, join, prepare_environment, start
from hetero.errors import ConfigurationError
from placement.types import Device

DISCOVERY_SECONDS = 120.0
REACH_SECONDS = 5.0
#: The label of `ray start --labels hetero-node=NAME` that names a node in plans.
NODE_LABEL = "hetero-node"


@dataclass(frozen=True, slots=True)
class Node:
    """One living node: its name in plans ("" for the driver's own), Ray's id of it, its IP address, its resources."""

    name: str
    id: str
    address: str
    resources: Mapping[str, float]


class Cluster:
    """A connection to Ray. `close` stops a cluster that `connect` started, and leaves one that it joined."""

    def __init__(self, started_here: bool, connected_here: bool) -> None:
        self.started_here = started_here
        self._connected_here = connected_here

    def nodes(self) -> tuple[Node, ...]:
        """The living nodes, the driver's first, then by name."""
        return living_nodes()

    def close(self) -> None:
        """Disconnect; a second call does nothing."""
        import ray

        if self._connected_here:
            ray.shutdown()
            self._connected_here = False

    def __enter__(self) -> "Cluster":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def living_nodes() -> tuple[Node, ...]:
    """The living nodes of the cluster that this process is connected to, the driver's first, then by name.

    Raises ConfigurationError without such a connection.
    """
    import ray

    if not ray.is_initialized():
        raise ConfigurationError("there is no connection to Ray; make one by hetero.cluster.connect()")
    own = ray.get_runtime_context().get_node_id()
    entries: list[dict[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call]
    nodes = (_node(entry, own) for entry in entries if entry["Alive"])
    return tuple(sorted(nodes, key=lambda node: (node.name, node.id)))


def _node(entry: Mapping[str, Any], own: str) -> Node:
    node_id = entry["NodeID"]
    name = "" if node_id == own else entry["Labels"].get(NODE_LABEL) or f"node-{node_id[:6]}"
    return Node(name, node_id, entry["NodeManagerAddress"], entry["Resources"])


def connect(address: str | None = None) -> Cluster:
    """Join the cluster at `address` or RAY_ADDRESS (set inside a submitted job); start a local one if neither is given.

    Where this process is connected to Ray already, that connection is used and left open.
    Raises ConfigurationError if the cluster does not answer or refuses the token.
    """
    address = address or os.environ.get("RAY_ADDRESS")
    if address == "local":
        address = None
    if address and address != "auto":
        _check_reachable(address)
    prepare_environment(joining=bool(address))
    import ray

    if ray.is_initialized():
        return Cluster(started_here=False, connected_here=False)
    if address:
        join(address)
    else:
        start()
    return Cluster(started_here=not address, connected_here=True)


def _check_reachable(address: str) -> None:
    """Raise ConfigurationError unless something listens there: Ray itself would try for minutes."""
    host, _, port = address.rpartition(":")
    if "://" in address or not host or not port.isdigit():
        raise ConfigurationError(
            f"{address} is not the HOST:PORT of a Ray cluster, as `ray start --head` prints it; "
            "run on one of its nodes, or use `ray job submit`"
        )
    try:
        socket.create_connection((host.strip("[]"), int(port)), REACH_SECONDS).close()
    except (OSError, OverflowError) as error:
        raise ConfigurationError(
            f"no Ray cluster answers at {address} ({error}); start one with `ray start --head` or unset RAY_ADDRESS"
        ) from None


def discover(cluster: Cluster) -> tuple[Device, ...]:
    """The devices of every node, the driver's own first; those of other nodes are named `NODE.cpu`.

    Raises ConfigurationError naming a node that does not answer or cannot import this package.
    """
    import ray
    from ray.exceptions import RayError

    nodes = cluster.nodes()
    replies = [(node, _ask_devices(node)) for node in nodes]
    devices: list[Device] = []
    for node, reply in replies:
        try:
            devices += [_on(node, device) for device in ray.get(reply, timeout=DISCOVERY_SECONDS)]
        except RayError as error:
            raise ConfigurationError(
                f"node {node.name or 'of the driver'} ({node.address}) cannot list its devices: {_cause(error)}; "
                f"is hetero installed there?"
            ) from None
    return tuple(devices)


def _ask_devices(node: Node) -> Any:
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    affinity = NodeAffinitySchedulingStrategy(node.id, soft=False)
    # One call a process: a process that has loaded the engines must not be reused for a stage.
    options: dict[str, Any] = {"num_cpus": 0, "max_calls": 1, "max_retries": 0, "scheduling_strategy": affinity}
    return ray.remote(**options)(_local_devices).remote()


def _local_devices() -> tuple[Device, ...]:
    from hetero.devices import local_devices

    return local_devices()


def _on(node: Node, device: Device) -> Device:
    name = f"{node.name}.{device.name}" if node.name else device.name
    return replace(device, name=name, node=node.name, node_id=node.id)


def _cause(error: BaseException) -> str:
    cause = getattr(error, "cause", None)
    return f"{type(cause).__name__}: {first_line(cause)}" if isinstance(cause, BaseException) else first_line(error)
