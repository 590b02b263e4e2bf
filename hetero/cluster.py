"""The Ray cluster that stages run on: start a local one or join an existing one, and see what its nodes own.

Knows nodes and devices; knows neither models nor plans. Ray is imported when a cluster is asked for, not before.
"""

import os
import secrets
import socket
import sys
import sysconfig
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from hetero.errors import ConfigurationError
from placement.types import Device

OBJECT_STORE_BYTES = 100 * 1024 * 1024
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
    _prepare_environment(joining=bool(address))
    import ray

    if ray.is_initialized():
        return Cluster(started_here=False, connected_here=False)
    if address:
        _join(address)
    else:
        _start()
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


def _prepare_environment(joining: bool) -> None:
    """Set what Ray reads when it is imported: a quick and quiet start, and authentication by token.

    A cluster of our own gets a token, for this process and its children alone, where the user has none. A cluster that
    we join decides for itself; a token that is there is shown to it. Where Ray was imported before, it has read its
    mode already, and asks for a token by itself when it starts a cluster.
    """
    os.environ.setdefault("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    # Ray runs actors at niceness 15, behind everything else on the machine; a stage is what the machine is for.
    os.environ.setdefault("RAY_worker_niceness", "0")
    # Ray prints to stdout when a worker dies, which `--json` cannot bear; that a stage was lost is told as an error.
    os.environ.setdefault("RAY_DEDUP_LOGS_SKIP_REGEX", ".")
    if not joining and not _token_is_there():
        os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)
    if "ray" not in sys.modules and _token_is_there():
        os.environ.setdefault("RAY_AUTH_MODE", "token")


def _token_is_there() -> bool:
    named = os.environ.get("RAY_AUTH_TOKEN") or os.environ.get("RAY_AUTH_TOKEN_PATH")
    return bool(named) or (Path.home() / ".ray" / "auth_token").is_file()


def _common_options() -> dict[str, Any]:
    from ray.job_config import JobConfig

    return {
        "namespace": f"hetero-{secrets.token_hex(4)}",
        "log_to_driver": False,
        "logging_level": "ERROR",
        "job_config": JobConfig(_py_driver_sys_path=_code_paths()),
    }


def _code_paths() -> list[str]:
    """Where workers find this package: nowhere special if it is installed or travels with a submitted job."""
    root = Path(__file__).resolve().parents[1]
    installed = {Path(sysconfig.get_path(key)).resolve() for key in ("purelib", "platlib")}
    return [] if root in installed or "RAY_JOB_CONFIG_JSON_ENV_VAR" in os.environ else [str(root)]


def _join(address: str) -> None:
    import ray
    from ray.exceptions import AuthenticationError

    try:
        ray.init(address=address, **_common_options())
    except AuthenticationError:
        raise ConfigurationError(
            f"the Ray cluster at {address} refuses this process without its token; "
            "give it in RAY_AUTH_TOKEN or ~/.ray/auth_token"
        ) from None
    except (ConnectionError, RuntimeError, ValueError, TimeoutError) as error:
        raise ConfigurationError(
            f"the Ray cluster at {address} cannot be joined; it may be of another version or want another token "
            f"({_first_line(error)})"
        ) from None


def _start() -> None:
    import ray

    try:
        ray.init(
            address="local",
            num_cpus=len(os.sched_getaffinity(0)),
            include_dashboard=False,
            object_store_memory=OBJECT_STORE_BYTES,
            **_common_options(),
        )
    except (ConnectionError, RuntimeError, ValueError, TimeoutError, OSError) as error:
        raise ConfigurationError(f"a local Ray cluster cannot be started: {_first_line(error)}") from None


def _first_line(error: BaseException) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)


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
    return f"{type(cause).__name__}: {_first_line(cause)}" if isinstance(cause, BaseException) else _first_line(error)
