"""Run by test_nodes.py in a process of its own: two Ray nodes on this machine, a plan over both, and a lost node.

Prints one JSON object of what it saw. Arguments: the model's folder.
"""

import json
import sys
import time
from pathlib import Path

import numpy as np

from hetero.backends.base import KvSpec
from hetero.batch import BatchResult, DecodeBatch, RowSampling
from hetero.cluster import connect, discover
from hetero.errors import StageLostError
from hetero.pipeline.base import Pipeline
from hetero.pipeline.local import LocalPipeline
from placement.types import Device, DeviceKind, Plan, Stage

KV = KvSpec(16, 32, 4, 128)
STEPS = 12


def step(number: int, token_ids: list[int], past: int) -> DecodeBatch:
    count = len(token_ids)
    ends, blocks = np.array([0, count], np.int32), np.arange(4, dtype=np.int32)
    return DecodeBatch(
        number,
        np.array(token_ids, np.int64),
        np.arange(past, past + count),
        np.array([past], np.int32),
        ends,
        blocks,
        np.array([0, 4], np.int32),
        np.zeros(1, np.int32),
        np.array([count - 1]),
        (RowSampling(position=past + count),),
    )


def greedy(pipeline: Pipeline) -> list[int]:
    feed, past, tokens = [1, 403, 407, 261, 378], 0, list[int]()
    for number in range(STEPS):
        pipeline.submit(step(number, feed, past))
        result = pipeline.collect(60.0)
        assert isinstance(result, BatchResult) and result.error is None, result
        past, feed = past + len(feed), [result.tokens[0].token_id]
        tokens += feed
    return tokens


def plan_over(*devices: Device) -> Plan:
    cuts = [0, 2, 5] if len(devices) == 2 else [0, 5]
    stages = (Stage(d, "torch", a, b, "fp32") for d, a, b in zip(devices, cuts, cuts[1:], strict=False))
    return Plan(tuple(stages), "a test")


def loss_of(pipeline: Pipeline, deadline_seconds: float) -> tuple[float, str]:
    began = time.monotonic()
    while time.monotonic() - began < deadline_seconds:
        try:
            pipeline.collect(0.5)
        except StageLostError as error:
            return time.monotonic() - began, str(error)
    return deadline_seconds, "nothing was noticed"


def main(folder: Path) -> None:
    from ray.cluster_utils import Cluster as RayNodes

    nodes = RayNodes(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    named = nodes.add_node(num_cpus=1, labels={"hetero-node": "far"})
    nodes.add_node(num_cpus=1)
    nodes.wait_for_nodes()
    cluster = connect(nodes.address)
    from hetero.pipeline.actor import ActorPipeline

    seen: dict[str, object] = {"started_here": cluster.started_here}
    seen["nodes"] = [node.name for node in cluster.nodes()]
    found = discover(cluster)
    seen["devices"] = [(device.name, device.node) for device in found if device.kind is DeviceKind.CPU]
    cpus = {device.node: device for device in found if device.kind is DeviceKind.CPU}

    local = LocalPipeline(folder, plan_over(cpus[""]), KV, threads=1)
    seen["expected"] = greedy(local)
    local.close()
    pipeline = ActorPipeline(folder, plan_over(cpus[""], cpus["far"]), KV, threads=1)
    seen["found"] = greedy(pipeline)
    seen["sockets"] = sockets_of(pipeline.process_ids[1])
    nodes.remove_node(named)
    seen["noticed_seconds"], seen["lost"] = loss_of(pipeline, 30.0)
    pipeline.close()
    cluster.close()
    nodes.shutdown()
    print(json.dumps(seen))


def sockets_of(pid: int) -> dict[str, int]:
    """How many UNIX links the far stage has, and whether it listens for its predecessor."""
    import psutil

    connections = psutil.Process(pid).net_connections("all")
    return {
        "unix_links": sum("hetero-link-" in str(connection.laddr) for connection in connections),
        "listening": sum(connection.status == "LISTEN" for connection in connections),
    }


if __name__ == "__main__":
    main(Path(sys.argv[1]))
