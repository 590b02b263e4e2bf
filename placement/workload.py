"""The public device-placement workload format: a graph of operators or layers with times, sizes and transfer costs.

Reads, checks and contracts it; knows nothing of solving. Times and transfer costs are milliseconds, as in the files.
Nodes of one colour class go to one device, so a class is one `Group` here; everything else speaks of groups. What
order a plan must keep to, and which groups it cannot part, is `workload_order.py`'s.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import networkx

from placement.errors import WorkloadError
from placement.workload_order import Contiguity, merge_members, order_of


@dataclass(frozen=True, slots=True)
class Group:
    """Nodes that must stay together: their ids, their times, the bytes they take on an accelerator."""

    node_ids: tuple[int, ...]
    cpu_milliseconds: float
    accelerator_milliseconds: float
    size_bytes: float
    accelerator_legal: bool


@dataclass(frozen=True, slots=True)
class Transfer:
    """One node's output that leaves its group: moving it costs `milliseconds`, once a device and direction."""

    source: int
    targets: tuple[int, ...]
    milliseconds: float


@dataclass(frozen=True, slots=True)
class Workload:
    """Groups, in topological order where there is an order; indices refer to `groups`.

    `order` holds pairs (earlier, later) of groups that the pieces of a contiguous plan must not turn round.
    """

    groups: tuple[Group, ...]
    transfers: tuple[Transfer, ...]
    accelerator_count: int
    cpu_count: int
    accelerator_bytes: float
    order: frozenset[tuple[int, int]] = frozenset()

    def edges(self) -> set[tuple[int, int]]:
        """Pairs of different groups (source, target) that a transfer joins."""
        return {(t.source, target) for t in self.transfers for target in t.targets}


def read_workload(
    path: Path, accelerator_count: int | None = None, *, contiguity: Contiguity = Contiguity.FORWARD
) -> Workload:
    """Read a workload file. `accelerator_count` replaces the file's own; `contiguity` says what order plans keep to.

    Raises WorkloadError, naming the field or node, if the file is not a workload, is empty, has a cycle, a negative or
    non-finite number, or an edge to a node that is not there.
    """
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise WorkloadError(f"cannot read {path}: {error.strerror}") from None
    except ValueError as error:
        raise WorkloadError(f"{path} is not a JSON file: {error}") from None
    return workload_from(document, accelerator_count, contiguity=contiguity)


def workload_from(
    document: Any, accelerator_count: int | None = None, *, contiguity: Contiguity = Contiguity.FORWARD
) -> Workload:
    """The workload that a parsed document describes; raises as `read_workload` does."""
    if not isinstance(document, dict) or not isinstance(document.get("nodes"), list) or not document["nodes"]:
        raise WorkloadError("the graph is empty: a workload needs a list 'nodes' with at least one node")
    nodes = _nodes_by_id(document["nodes"])
    outgoing = _outgoing(document.get("edges", []), nodes)
    _refuse_cycle(outgoing)
    edges = [(source, target) for source, out in outgoing.items() for target, _ in out]
    backward = {node_id for node_id, node in nodes.items() if node.get("isBackwardNode", False)}
    members = merge_members(_members_by_class(nodes), edges, backward, contiguity)
    group_of = {node_id: index for index, ids in enumerate(members) for node_id in ids}
    count = document.get("maxFPGAs", 0) if accelerator_count is None else accelerator_count
    return Workload(
        tuple(_group(ids, nodes) for ids in members),
        tuple(_transfers(outgoing, group_of)),
        int(_number(count, "maxFPGAs")),
        int(_number(document.get("maxCPUs", 0), "maxCPUs")),
        _number(document.get("maxSizePerFPGA", math.inf), "maxSizePerFPGA", allow_infinite=True),
        order_of(members, edges, backward, contiguity),
    )


def _number(value: Any, name: str, *, allow_infinite: bool = False) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError):
        raise WorkloadError(f"{name} is {value!r}; it must be a number") from None
    if math.isnan(number) or number < 0 or (math.isinf(number) and not allow_infinite):
        raise WorkloadError(f"{name} is {number}; it must be finite and not negative")
    return number


def _nodes_by_id(raw: Sequence[Mapping[str, Any]]) -> dict[int, Mapping[str, Any]]:
    nodes: dict[int, Mapping[str, Any]] = {}
    for node in raw:
        if not isinstance(node, dict) or "id" not in node:
            raise WorkloadError(f"a node has no id: {node!r}")
        if node["id"] in nodes:
            raise WorkloadError(f"node {node['id']} is there twice")
        nodes[node["id"]] = node
    return nodes


def _outgoing(raw: Sequence[Mapping[str, Any]], nodes: Mapping[Any, Any]) -> dict[int, list[tuple[int, float]]]:
    outgoing: dict[int, list[tuple[int, float]]] = {node_id: [] for node_id in nodes}
    for edge in raw:
        source: Any = edge.get("sourceId")
        target: Any = edge.get("destId")
        if source not in nodes or target not in nodes:
            raise WorkloadError(f"edge {source} -> {target} names a node that is not there")
        cost = _number(edge.get("cost", 0.0), f"the cost of edge {source} -> {target}")
        outgoing[source].append((target, cost))
    return outgoing


def _members_by_class(nodes: Mapping[int, Mapping[str, Any]]) -> list[tuple[int, ...]]:
    classes: dict[tuple[str, Any], list[int]] = {}
    for node_id, node in nodes.items():
        colour = node.get("colorClass")
        classes.setdefault(("node", node_id) if colour is None else ("class", colour), []).append(node_id)
    return [tuple(ids) for ids in classes.values()]


def _group(ids: tuple[int, ...], nodes: Mapping[int, Mapping[str, Any]]) -> Group:
    def total(field: str) -> float:
        return sum(_number(nodes[i].get(field, 0.0), f"{field} of node {i}") for i in ids)

    legal = all(bool(nodes[i].get("supportedOnFpga", True)) for i in ids)
    return Group(ids, total("cpuLatency"), total("fpgaLatency"), total("size"), legal)


def _transfers(outgoing: Mapping[int, list[tuple[int, float]]], group_of: Mapping[int, int]) -> list[Transfer]:
    transfers = []
    for node_id, out in outgoing.items():
        source = group_of[node_id]
        targets = sorted({group_of[target] for target, _ in out} - {source})
        if targets:
            transfers.append(Transfer(source, tuple(targets), max(cost for _, cost in out)))
    return transfers


def _refuse_cycle(outgoing: Mapping[int, list[tuple[int, float]]]) -> None:
    graph = networkx.DiGraph((source, target) for source, out in outgoing.items() for target, _ in out)
    try:
        cycle = networkx.find_cycle(graph)
    except networkx.NetworkXNoCycle:
        return
    nodes = " -> ".join(str(source) for source, _ in cycle)
    raise WorkloadError(f"the graph has a cycle, {nodes}; placement needs an acyclic graph")
