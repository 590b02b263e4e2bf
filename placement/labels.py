"""The label search: the least sum over a chain while other sums stay within bounds, exactly.

A label is a partial plan's sums. Of two at one state (devices used, last device, blocks done) one that is no better in
anything is dropped, and so is one that cannot be completed within the bounds or below the best plan known.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from placement.costs import Metric
from placement.evaluation import LaneStage
from placement.lane_tables import LaneTables

Floats = NDArray[np.float64]
_States = dict[tuple[int, int, int], list["_Label"]]

_LABEL_LIMIT = 200_000
#: A bound is kept if it is exceeded by no more than rounding.
SLACK = 1 + 1e-9


@dataclass(frozen=True, slots=True)
class Resource:
    """A metric whose sum over a plan may be at most `bound`."""

    metric: Metric
    bound: float


@dataclass(slots=True)
class _Label:
    values: tuple[float, ...]
    lane: int
    first: int
    last: int
    before: "_Label | None"


class LabelSearch:
    """The label search; `finished` is False if it was given up."""

    def __init__(
        self, tables: LaneTables, resources: Sequence[Resource], count: int | None, upper: float, most: int
    ) -> None:
        self.count, self.most, self.upper = count, most, upper
        self.lanes_of = [np.flatnonzero(tables.device_of_lane == d) for d in range(tables.metric.link.shape[0] - 1)]
        self.device_of = tables.device_of_lane
        metrics = [tables.metric, *(each.metric for each in resources)]
        allowed = np.isfinite(tables.metric.stage)
        self.stage = np.array([np.where(allowed, metric.stage, np.inf) for metric in metrics])
        self.link = np.array([metric.link for metric in metrics])
        self.limits = np.array([upper, *(each.bound * SLACK for each in resources)])
        self.remaining = np.array(
            [
                _remaining(LaneTables(tables.device_of_lane, Metric(s, m.link)))
                for s, m in zip(self.stage, metrics, strict=True)
            ]
        )
        self.blocks, self.host = tables.metric.stage.shape[1] - 1, len(self.lanes_of)
        self.finished, self.made = True, 0
        self.best: _Label | None = None

    def run(self) -> tuple[LaneStage, ...] | None:
        """The best plan below the limits, if one is found."""
        states: _States = {}
        for device in range(self.host):
            self._extend(None, 0, self.host, device, 0, np.zeros(len(self.limits)), states)
        for number in range(1, min(self.most, self.blocks, self.host) + 1):
            self._close(states, number)
            states = self._next(states)
            if not states or not self.finished:
                break
        return tuple(reversed(list(_stages(self.best)))) if self.best else None

    def _next(self, states: _States) -> _States:
        following: _States = {}
        for (used, last_device, boundary), labels in states.items():
            if boundary == self.blocks:
                continue
            for label in labels:
                for device in range(self.host):
                    if not used >> device & 1:
                        self._extend(label, used, last_device, device, boundary, np.array(label.values), following)
            if self.made > _LABEL_LIMIT:
                self.finished = False
                break
        return following

    def _extend(
        self,
        label: _Label | None,
        used: int,
        source: int,
        device: int,
        first: int,
        values: Floats,
        states: _States,
    ) -> None:
        arriving = values + self.link[:, source, device, first]
        for lane in self.lanes_of[device]:
            ends = arriving[:, None] + self.stage[:, lane, first, first + 1 :]
            least = ends + self.remaining[:, device, first + 1 :]
            for index in np.flatnonzero((least <= self.limits[:, None]).all(axis=0)):
                last = first + 1 + int(index)
                new = _Label(tuple(map(float, ends[:, index])), int(lane), first, last, label)
                self._keep(states.setdefault((used | 1 << device, device, last), []), new)

    def _keep(self, labels: list[_Label], new: _Label) -> None:
        if any(_dominates(old.values, new.values) for old in labels):
            return
        labels[:] = [old for old in labels if not _dominates(new.values, old.values)]
        labels.append(new)
        self.made += 1

    def _close(self, states: _States, number: int) -> None:
        """Complete plans end at the host; the best one lowers the limit."""
        if self.count is not None and number != self.count:
            return
        for (_, device, boundary), labels in states.items():
            for label in labels if boundary == self.blocks else ():
                values = np.array(label.values) + self.link[:, device, self.host, self.blocks]
                if values[0] < self.limits[0] and (values[1:] <= self.limits[1:]).all():
                    self.best, self.limits[0] = label, values[0]


def _dominates(one: Sequence[float], other: Sequence[float]) -> bool:
    return all(a <= b for a, b in zip(one, other, strict=True))


def _stages(label: _Label | None) -> Iterator[LaneStage]:
    while label is not None:
        yield LaneStage(label.lane, label.first, label.last)
        label = label.before


def _remaining(tables: LaneTables) -> Floats:
    """[D, L+1]: the least that must follow a stage that ends at a boundary on a device."""
    reduced = tables.reduced
    blocks = reduced.block_count
    least = np.full((reduced.device_count, blocks + 1), np.inf)
    least[:, blocks] = reduced.link[:-1, -1, -1]
    apart = np.where(np.eye(reduced.device_count, dtype=bool), np.inf, 0.0)
    for boundary in range(blocks - 1, 0, -1):
        following = (reduced.stage[:, boundary, boundary + 1 :] + least[:, boundary + 1 :]).min(axis=1)
        least[:, boundary] = (reduced.link[:-1, :-1, boundary] + apart + following).min(axis=1)
    return least
