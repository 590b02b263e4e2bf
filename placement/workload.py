"""The public device-placement workload format: a graph of operators or layers with times, sizes and transfer costs.

Reads, checks and contracts it; knows nothing of solving. Times and transfer costs are milliseconds, as in the files.
Nodes of one colour class go to one device, so a class is one `Group` here; everything else speaks of groups.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import networkx

from placement.errors import WorkloadError


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
    """Groups, in topological order where cycles were contracted; indices refer to `groups`."""

    groups: tuple[Group, ...]
    transfers: tuple[Transfer, ...]
    accelerator_count: int
    cpu_count: int
    accelerator_bytes: float

    def edges(self) -> set[tuple[int, int]]:
        """Pairs of different groups (source, target) that a transfer joins."""
        return {(t.source, target) for t in self.transfers for target in t.targets}


def read_workload(path: Path, accelerator_count: int | None = None, *, contract_cycles: bool = True) -> Workload:
    """Read a workload file. `accelerator_count` replaces the file's own.

    `contract_cycles` makes one group of groups on a common cycle, as contiguous plans need, and orders the groups.

    Raises WorkloadError, naming the field or node, if the file is not a workload, is empty, has a cycle, a negative or
    non-finite number, or an edge to a node that is not there.
    """
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise WorkloadError(f"cannot read {path}: {error.strerror}") from None
    except ValueError as error:
        raise WorkloadError(f"{path} is not a JSON file: {error}") from None
    return workload_from(document, accelerator_count, contract_cycles=contract_cycles)


def workload_from(document: Any, accelerator_count: int | None = None, *, contract_cycles: bool = True) -> Workload:
    """The workload that a parsed document describes; raises as `read_workload` does."""
    if not isinstance(document, dict) or not isinstance(document.get("nodes"), list) or not document["nodes"]:
        raise WorkloadError("the graph is empty: a workload needs a list 'nodes' with at least one node")
    nodes = _nodes_by_id(document["nodes"])
    outgoing = _outgoing(document.get("edges", []), nodes)
    _refuse_cycle(outgoing)
    members = _members_by_class(nodes)
    if contract_cycles:
        members = _topological(members, outgoing)
    group_of = {node_id: index for index, ids in enumerate(members) for node_id in ids}
    count = document.get("maxFPGAs", 0) if accelerator_count is None else accelerator_count
    return Workload(
        tuple(_group(ids, nodes) for ids in members),
        tuple(_transfers(outgoing, group_of)),
        int(_number(count, "maxFPGAs")),
        int(_number(document.get("maxCPUs", 0), "maxCPUs")),
        _number(document.get("maxSizePerFPGA", math.inf), "maxSizePerFPGA", allow_infinite=True),
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


def _topological(
    members: list[tuple[int, ...]], outgoing: Mapping[int, list[tuple[int, float]]]
) -> list[tuple[int, ...]]:
    """The members in topological order of the contracted graph; groups on a common cycle are made one group.

    A contiguous plan cannot part such groups: each would have to come before the other.
    """
    group_of = {node_id: index for index, ids in enumerate(members) for node_id in ids}
    graph: networkx.DiGraph[int] = networkx.DiGraph()
    graph.add_nodes_from(range(len(members)))
    graph.add_edges_from((group_of[source], group_of[target]) for source, out in outgoing.items() for target, _ in out)
    contracted = networkx.condensation(graph)
    order = networkx.lexicographical_topological_sort(contracted)
    return [tuple(i for g in sorted(contracted.nodes[c]["members"]) for i in members[g]) for c in order]


def _refuse_cycle(outgoing: Mapping[int, list[tuple[int, float]]]) -> None:
    graph = networkx.DiGraph((source, target) for source, out in outgoing.items() for target, _ in out)
    try:
        cycle = networkx.find_cycle(graph)
    except networkx.NetworkXNoCycle:
        return
    nodes = " -> ".join(str(source) for source, _ in cycle)
    raise WorkloadError(f"the graph has a cycle, {nodes}; placement needs an acyclic graph")
