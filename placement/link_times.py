"""What it takes to move a message between any two devices, and between the host and a device.

From measured links by an alpha-beta fit; a direction that was not measured is taken as the other one, a pair that was
not measured at all as the slowest measured of its sort (within a node, or between nodes), or else as a usual one.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from placement.profiles import HOST, Profile
from placement.tables import LinkCost, fit_link, make_table
from placement.types import Device

Floats = NDArray[np.float64]

_WITHIN_NODE = LinkCost(2e-4, 1e9)
_BETWEEN_NODES = LinkCost(1e-3, 1e8)
_MEASURED_ERROR, _GUESSED_ERROR = 0.1, 1.0


@dataclass(frozen=True, slots=True)
class LinkTimes:
    """D devices and the host as number D: seconds = latency + bytes * seconds_per_byte, by [from, to]."""

    latency_seconds: Floats
    seconds_per_byte: Floats
    relative_error: Floats

    def seconds(self, size_bytes: Floats) -> Floats:
        """[D+1, D+1, boundaries] for the bytes that cross each boundary; a device to itself costs nothing."""
        return self.latency_seconds[:, :, None] + self.seconds_per_byte[:, :, None] * size_bytes


def link_times(devices: Sequence[Device], profile: Profile | None) -> LinkTimes:
    """All links between `devices` and the host. Raises ProfileError for a time that cannot be."""
    # Devices of other nodes have a dot in their names; the host is on this one.
    here = next((device.node for device in devices if "." not in device.name), "")
    ends = [*((device.name, device.node) for device in devices), (HOST, here)]
    measured = _measured(profile)
    count = len(ends)
    latency, per_byte, error = np.zeros((count, count)), np.zeros((count, count)), np.zeros((count, count))
    for a, source in enumerate(ends):
        for b, target in enumerate(ends):
            if a != b:
                cost, known = _cost(source, target, measured, dict(ends))
                latency[a, b], per_byte[a, b] = cost.latency_seconds, 1 / cost.bytes_per_second
                error[a, b] = _MEASURED_ERROR if known else _GUESSED_ERROR
    return LinkTimes(latency, per_byte, error)


def _measured(profile: Profile | None) -> dict[tuple[str, str], LinkCost]:
    points: dict[tuple[str, str], dict[float, list[float]]] = {}
    for link in profile.links if profile else ():
        points.setdefault((link.source, link.target), {}).setdefault(link.size_bytes, []).extend(link.seconds)
    return {pair: _fit(sizes, f"the link {pair[0]} -> {pair[1]}") for pair, sizes in points.items()}


def _fit(points: dict[float, list[float]], what: str) -> LinkCost:
    table = make_table(points, what)
    if len(table.sizes) == 1:
        return LinkCost(table.seconds[0], _WITHIN_NODE.bytes_per_second)
    return fit_link(table)


def _cost(
    source: tuple[str, str],
    target: tuple[str, str],
    measured: dict[tuple[str, str], LinkCost],
    node_of: dict[str, str],
) -> tuple[LinkCost, bool]:
    """The link's cost, and whether it was measured."""
    for pair in ((source[0], target[0]), (target[0], source[0])):
        if pair in measured:
            return measured[pair], True
    within = source[1] == target[1]
    alike = [cost for (a, b), cost in measured.items() if (node_of.get(a) == node_of.get(b)) is within]
    if not alike:
        return (_WITHIN_NODE if within else _BETWEEN_NODES), False
    return max(alike, key=lambda cost: cost.latency_seconds), False
