"""What the chain search reads: costs of stages and of links as two arrays, and which devices are alike in both.

Numbers only: knows neither seconds nor devices' names.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class ChainStage:
    """Blocks [first, last) on a device, by index."""

    device: int
    first: int
    last: int


@dataclass(frozen=True, slots=True)
class ChainTables:
    """D devices, L blocks; the host, which feeds the first stage and receives from the last, is number D of the links.

    `stage` [D, L+1, L+1] by (device, first, last), inf where illegal; `link` [D+1, D+1, L+1] by (from, to, boundary).
    """

    stage: Floats
    link: Floats

    @property
    def device_count(self) -> int:
        return int(self.stage.shape[0])

    @property
    def block_count(self) -> int:
        return int(self.stage.shape[1]) - 1

    def parts(self, stages: Sequence[ChainStage]) -> tuple[list[float], list[float]]:
        """What the stages cost, and the links: host to first, between stages, last to host."""
        ends = [self.device_count, *(stage.device for stage in stages), self.device_count]
        cuts = [*(stage.first for stage in stages), self.block_count]
        links = [float(self.link[a, b, cut]) for a, b, cut in zip(ends, ends[1:], cuts, strict=False)]
        return [float(self.stage[s.device, s.first, s.last]) for s in stages], links


def alike_devices(tables: ChainTables) -> list[list[int]]:
    """Devices grouped so that exchanging two of a group changes neither table."""
    types: list[list[int]] = []
    for device in range(tables.device_count):
        for members in types:
            if _interchangeable(tables, members, device):
                members.append(device)
                break
        else:
            types.append([device])
    return types


def _interchangeable(tables: ChainTables, members: list[int], device: int) -> bool:
    one, links = members[0], tables.link
    if not np.array_equal(tables.stage[one], tables.stage[device]):
        return False
    others = [d for d in range(tables.device_count + 1) if d not in (*members, device)]
    if not np.array_equal(links[one, others], links[device, others]):
        return False
    if not np.array_equal(links[others, one], links[others, device]):
        return False
    inside = [links[a, b] for a in (*members, device) for b in (*members, device) if a != b]
    return all(np.array_equal(inside[0], link) for link in inside)
