"""The plans that other tools would make, and the one that runs now: what the answer must never be worse than.

Each single device; equal shares; shares by memory, as exo cuts; one device filled after the other, GPUs first, as
accelerate does; the current plan. Each stage gets its device's best lane, so that only the cutting differs.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from placement.constraints import PlacementRefusal, RefusalReason
from placement.costs import CostModel, Metric
from placement.evaluation import LaneStage
from placement.figures import lane_stages
from placement.masks import Mask
from placement.problem import Objective
from placement.refusals import refusal_of
from placement.steps import batch_of
from placement.types import DeviceKind

#: Of a device that these forbid nothing is used; a baseline is of the devices that are left.
_WHOLE_DEVICE = (
    RefusalReason.EXCLUDED,
    RefusalReason.EMULATED,
    RefusalReason.LOST,
    RefusalReason.ENGINE,
    RefusalReason.PRECISION,
)
_FILL_ORDER = (DeviceKind.GPU, DeviceKind.NPU, DeviceKind.CPU)


@dataclass(frozen=True, slots=True)
class Baseline:
    """A named plan; where it is not legal the first refusal says why."""

    name: str
    stages: tuple[LaneStage, ...]
    refusal: PlacementRefusal | None = None


def baselines(costs: CostModel, masks: Mapping[RefusalReason, Mask]) -> tuple[Baseline, ...]:
    """Every baseline that can be made of the devices that may be used at all."""
    maker = _Maker(costs, masks)
    made = [maker.make(f"{costs.devices[d].name} alone", [(d, costs.block_count)]) for d in maker.usable]
    if len(maker.usable) > 1:
        made.append(maker.make("even split", maker.even()))
        made.append(maker.make("by memory", maker.by_memory()))
        made.append(maker.make("greedy fill", maker.greedy()))
    current = costs.problem.current
    if current is not None:
        made.append(maker.checked("current plan", lane_stages(costs, current)))
    return tuple(made)


class _Maker:
    def __init__(self, costs: CostModel, masks: Mapping[RefusalReason, Mask]) -> None:
        self.costs, self.masks = costs, masks
        out = [masks[reason][:, 0, -1] for reason in _WHOLE_DEVICE if reason in masks]
        barred = np.logical_or.reduce(out) if out else np.zeros(len(costs.lanes), dtype=bool)
        self.lanes = {
            device: [i for i, lane in enumerate(costs.lanes) if lane.device == device and not barred[i]]
            for device in range(len(costs.devices))
        }
        self.usable = [device for device, lanes in self.lanes.items() if lanes]

    def make(self, name: str, shares: Sequence[tuple[int, int]]) -> Baseline:
        """A plan from (device, number of blocks) in order."""
        metric = self._metric(len(shares))
        edges = np.concatenate([[0], np.cumsum([blocks for _, blocks in shares])]).tolist()
        stages = tuple(
            self._stage(metric, device, edges[k], edges[k + 1]) for k, (device, blocks) in enumerate(shares) if blocks
        )
        return self.checked(name, stages)

    def checked(self, name: str, stages: tuple[LaneStage, ...]) -> Baseline:
        """The plan with the first refusal that it meets."""
        refusal = next(self._refusals(stages), None)
        return Baseline(name, stages, refusal)

    def even(self) -> list[tuple[int, int]]:
        """As nearly equal numbers of blocks as can be, in the order of the devices."""
        devices = self.usable[: self.costs.block_count]
        parts = np.array_split(np.arange(self.costs.block_count), len(devices))
        return [(device, len(part)) for device, part in zip(devices, parts, strict=True)]

    def by_memory(self) -> list[tuple[int, int]]:
        """Blocks in proportion to memory, the largest device first; cuts are rounded as shares add up."""
        devices = sorted(self.usable, key=lambda d: -self.costs.devices[d].memory_bytes)
        memory = np.array([self.costs.devices[d].memory_bytes for d in devices], dtype=float)
        edges = np.round(np.cumsum(memory) / memory.sum() * self.costs.block_count).astype(int)
        return [(device, int(count)) for device, count in zip(devices, np.diff(edges, prepend=0), strict=True)]

    def greedy(self) -> list[tuple[int, int]]:
        """As many blocks as fit on each device after the other: GPUs, then NPUs, then CPUs, which take the rest."""
        order = sorted(self.usable, key=lambda d: _FILL_ORDER.index(self.costs.devices[d].kind))
        shares, first = [], 0
        for number, device in enumerate(order):
            count = self._most(device, first) if number + 1 < len(order) else self.costs.block_count - first
            shares.append((device, count))
            first += count
        return shares

    def _most(self, device: int, first: int) -> int:
        memory = self.masks.get(RefusalReason.MEMORY)
        if memory is None:
            return self.costs.block_count - first
        fits = [~memory[lane, first, first + 1 :] for lane in self.lanes[device]]
        return int(np.logical_or.reduce(fits).sum())

    def _metric(self, stage_count: int) -> Metric:
        """What the best lane of a device is chosen by."""
        problem = self.costs.problem
        if problem.objective is Objective.THROUGHPUT:
            traffic = problem.traffic
            return self.costs.load(traffic.batch_sequences or batch_of(traffic, stage_count))
        return {
            Objective.LATENCY: self.costs.latency,
            Objective.FIRST_TOKEN: self.costs.first_token,
            Objective.ENERGY: self.costs.energy,
        }[problem.objective]

    def _stage(self, metric: Metric, device: int, first: int, last: int) -> LaneStage:
        lanes = [lane for lane in self.lanes[device] if not self._forbidden(lane, first, last)] or self.lanes[device]
        return LaneStage(min(lanes, key=lambda lane: float(metric.stage[lane, first, last])), first, last)

    def _forbidden(self, lane: int, first: int, last: int) -> bool:
        return any(bool(mask[lane, first, last]) for mask in self.masks.values())

    def _refusals(self, stages: Sequence[LaneStage]) -> Iterator[PlacementRefusal]:
        for stage in stages:
            for reason, mask in self.masks.items():
                if mask[stage.lane, stage.first, stage.last]:
                    yield refusal_of(self.costs, reason, stage.lane, stage.first, stage.last)
        most = self.costs.problem.constraints.max_stages
        if most is not None and len(stages) > most:
            yield PlacementRefusal(RefusalReason.STAGE_COUNT, f"{len(stages)} stages are more than the {most} allowed")
