"""A metric over lanes with what is forbidden made infinite, and the chain search over the best lane of each device.

Knows numbers of lanes and devices; knows neither what the metric is nor why a stage is forbidden.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from placement.chain_search import ChainSearch, Join
from placement.chain_tables import ChainStage, ChainTables
from placement.costs import Metric
from placement.evaluation import LaneStage
from placement.room import least_by_length, least_largest

Floats = NDArray[np.float64]

#: How far above the bound a plan is looked for, one after the other, as parts of it.
_ROOM = (0.02, 0.1, 0.5)


@dataclass(frozen=True)
class LaneTables:
    """Which device each lane is of, and a metric whose stages are infinite where they are forbidden.

    What several searches need is made once and kept.
    """

    device_of_lane: NDArray[np.int64]
    metric: Metric

    @cached_property
    def reduced(self) -> ChainTables:
        """By device: the least of its lanes."""
        devices = self.metric.link.shape[0] - 1
        shape = (devices, *self.metric.stage.shape[1:])
        stage = np.full(shape, np.inf)
        for lane, device in enumerate(self.device_of_lane):
            np.minimum(stage[device], self.metric.stage[lane], out=stage[device])
        return ChainTables(stage, self.metric.link)

    @cached_property
    def by_length(self) -> Floats:
        """[D, L+1]: the least of any stage of so many blocks on each device."""
        return least_by_length(self.reduced.stage)

    def floor(self, most: int) -> float:
        """What the largest stage of no plan of up to `most` stages is below."""
        return least_largest(self.by_length, most)

    def lane(self, device: int, first: int, last: int) -> int:
        """The lane of a device that is least for a stage."""
        lanes = np.flatnonzero(self.device_of_lane == device)
        return int(lanes[self.metric.stage[lanes, first, last].argmin()])

    def least(self, join: Join, *, count: int | None, upper: float, most: int) -> list[tuple[LaneStage, ...]]:
        """The best plan of every number of stages up to `most`, the best of all first; empty if there is none."""
        return self._plans(ChainSearch(self.reduced, join, count=count, upper=upper, most=most))

    def least_largest(self, *, count: int | None, upper: float, most: int) -> list[tuple[LaneStage, ...]]:
        """`least` by the largest stage or link. Plans of one number of stages are near a bound, and sought there first.

        The lower its limit, the less a search has to go through.
        """
        floor = self.floor(count or most)
        for limit in (upper,) if count is None else (*(floor * (1 + room) for room in _ROOM), upper):
            if floor < limit <= upper:
                plans = self._plans(ChainSearch(self.reduced, np.maximum, count=count, upper=limit, most=most))
                if plans:
                    return plans
        return []

    def _plans(self, search: ChainSearch) -> list[tuple[LaneStage, ...]]:
        best = search.best()
        if best is None:
            return []
        others = [search.plan(c) for c in range(1, len(best))] if search.count is None else []
        return [self.with_lanes(plan) for plan in (best, *others) if plan is not None]

    def with_lanes(self, plan: Sequence[ChainStage]) -> tuple[LaneStage, ...]:
        """The stages of a plan by device, each in its device's best lane."""
        return tuple(LaneStage(self.lane(s.device, s.first, s.last), s.first, s.last) for s in plan)


def total(tables: LaneTables, metric: Metric, stages: Sequence[LaneStage]) -> float:
    """The sum of a metric over the stages and links of a plan."""
    host, value, before = metric.link.shape[0] - 1, 0.0, metric.link.shape[0] - 1
    for stage in stages:
        device = int(tables.device_of_lane[stage.lane])
        value += float(metric.link[before, device, stage.first] + metric.stage[stage.lane, stage.first, stage.last])
        before = device
    return value + float(metric.link[before, host, -1])
