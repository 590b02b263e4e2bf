"""The order that the pieces of a contiguous plan of a workload keep to, and the groups that it therefore cannot part.

Knows ids of nodes and which run backward; knows no times. In a training graph only the forward nodes are contiguous:
the backward nodes of a group go where its forward nodes are. A group without forward nodes is ordered as if it had
some, with the edges among backward nodes turned round. Both after Tarnawski et al., NeurIPS 2020.
"""

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from enum import Enum

import networkx

Edge = tuple[int, int]
Members = tuple[int, ...]


class Contiguity(Enum):
    """What a contiguous plan keeps the order of: forward nodes alone, every node, or (any plan goes) nothing."""

    FORWARD = "forward"
    ALL = "all"
    NONE = "none"


def merge_members(
    members: Sequence[Members], edges: Sequence[Edge], backward: AbstractSet[int], contiguity: Contiguity
) -> list[Members]:
    """The groups' node ids in topological order, groups on a common cycle made one; as they are without contiguity.

    A contiguous plan cannot part such groups: each would have to come before the other.
    """
    if contiguity is Contiguity.NONE:
        return list(members)
    graph: networkx.DiGraph[int] = networkx.DiGraph()
    graph.add_nodes_from(range(len(members)))
    graph.add_edges_from(sorted(order_of(members, edges, backward, contiguity)))
    contracted = networkx.condensation(graph)
    order = networkx.lexicographical_topological_sort(contracted)
    return [tuple(i for g in sorted(contracted.nodes[c]["members"]) for i in members[g]) for c in order]


def order_of(
    members: Sequence[Members], edges: Sequence[Edge], backward: AbstractSet[int], contiguity: Contiguity
) -> frozenset[Edge]:
    """Pairs (earlier, later) of different groups, by their indices."""
    if contiguity is Contiguity.NONE:
        return frozenset()
    group_of = {node_id: index for index, ids in enumerate(members) for node_id in ids}
    if contiguity is Contiguity.FORWARD:
        edges = [*_forward(edges, backward), *_mirrored(members, group_of, edges, backward)]
    return frozenset((group_of[s], group_of[t]) for s, t in edges if group_of[s] != group_of[t])


def _forward(edges: Sequence[Edge], backward: AbstractSet[int]) -> list[Edge]:
    return [(s, t) for s, t in edges if s not in backward and t not in backward]


def _mirrored(
    members: Sequence[Members], group_of: dict[int, int], edges: Sequence[Edge], backward: AbstractSet[int]
) -> list[Edge]:
    """Edges among backward nodes, turned round, where one of the two groups has no forward node."""
    alone = {index for index, ids in enumerate(members) if all(node_id in backward for node_id in ids)}
    among = [(s, t) for s, t in edges if s in backward and t in backward]
    return [(t, s) for s, t in among if group_of[s] in alone or group_of[t] in alone]
