"""Which stages no plan may hold, by reason.

A mask is True where a lane may not hold blocks [first, last). Masks are kept apart by reason, so that it can be asked
what lifting one of them would change.
"""

from collections.abc import Collection, Iterable

import numpy as np
from numpy.typing import NDArray

from placement.constraints import Pin, RefusalReason, Trust
from placement.costs import CostModel
from placement.memory import usable_bytes
from placement.problem import Objective

Mask = NDArray[np.bool_]


def forbidden_stages(costs: CostModel, lost: Collection[int] = ()) -> dict[RefusalReason, Mask]:
    """[lanes, L+1, L+1] for every reason that forbids anything; devices of the numbers `lost` are gone."""
    makers = {
        RefusalReason.MEMORY: _memory,
        RefusalReason.ENGINE: _engine,
        RefusalReason.PRECISION: _precision,
        RefusalReason.PIN: _pins,
        RefusalReason.EXCLUDED: _excluded,
        RefusalReason.EMULATED: _emulated,
        RefusalReason.TRUST: _trust,
        RefusalReason.POWER_UNKNOWN: _power_unknown,
    }
    made = {reason: maker(costs) for reason, maker in makers.items()}
    made[RefusalReason.LOST] = _by_lane(costs, (lane.device in lost for lane in costs.lanes))
    ranges = ~np.tri(costs.block_count + 1, dtype=bool)
    return {reason: mask for reason, mask in made.items() if (mask & ranges).any()}


def _shape(costs: CostModel) -> tuple[int, int, int]:
    return len(costs.lanes), costs.block_count + 1, costs.block_count + 1


def _by_lane(costs: CostModel, refused: Iterable[bool]) -> Mask:
    lanes = np.fromiter(refused, dtype=bool, count=len(costs.lanes))
    return np.broadcast_to(lanes[:, None, None], _shape(costs)).copy()


def _memory(costs: CostModel) -> Mask:
    usable = np.array([usable_bytes(costs.device_of(lane)) for lane in range(len(costs.lanes))])
    return np.asarray(costs.memory_bytes > usable[:, None, None])


def _engine(costs: CostModel) -> Mask:
    profile = costs.problem.profile
    refused = {(r.device, r.engine, r.precision) for r in (profile.refusals if profile else ())}
    return _by_lane(costs, (lane_key(costs, lane) in refused for lane in range(len(costs.lanes))))


def lane_key(costs: CostModel, lane: int) -> tuple[str, str, str]:
    """Device, engine and precision by name."""
    return costs.device_of(lane).name, costs.lanes[lane].engine, costs.lanes[lane].precision


def _precision(costs: CostModel) -> Mask:
    allowed, pinned = costs.problem.constraints.precisions, _pins_by_device(costs)

    def refused(lane: int) -> bool:
        pin = pinned.get(costs.device_of(lane).name)
        asked = pin is not None and pin.precision == costs.lanes[lane].precision
        return allowed is not None and not asked and costs.lanes[lane].precision not in allowed

    return _by_lane(costs, map(refused, range(len(costs.lanes))))


def _excluded(costs: CostModel) -> Mask:
    out = costs.problem.constraints.excluded
    return _by_lane(costs, (costs.device_of(lane).name in out for lane in range(len(costs.lanes))))


def _emulated(costs: CostModel) -> Mask:
    pinned, allowed = _pins_by_device(costs), costs.problem.constraints.allow_emulated
    devices = [costs.device_of(lane) for lane in range(len(costs.lanes))]
    return _by_lane(costs, (d.emulated and not allowed and d.name not in pinned for d in devices))


def _power_unknown(costs: CostModel) -> Mask:
    problem = costs.problem
    asked = problem.objective is Objective.ENERGY or problem.bounds.energy_joules is not None
    known = problem.power.active_watts if problem.power else {}
    return _by_lane(costs, (asked and costs.device_of(lane).name not in known for lane in range(len(costs.lanes))))


def _pins_by_device(costs: CostModel) -> dict[str, Pin]:
    return {pin.device: pin for pin in costs.problem.constraints.pins}


def _pins(costs: CostModel) -> Mask:
    """A pinned device takes its range and nothing else; nobody else takes a block of it."""
    mask, pinned = np.zeros(_shape(costs), dtype=bool), _pins_by_device(costs)
    places = np.arange(costs.block_count + 1)
    for pin in pinned.values():
        mask |= (places[:, None] < pin.last) & (places[None, :] > pin.first)
    for index, lane in enumerate(costs.lanes):
        own = pinned.get(costs.device_of(index).name)
        if own is not None:
            mask[index] = True
            engine, precision = own.engine or lane.engine, own.precision or lane.precision
            mask[index, own.first, own.last] = (engine, precision) != (lane.engine, lane.precision)
    return mask


def _trust(costs: CostModel) -> Mask:
    """A stage sees every boundary from the one before its first block to the one after its last."""
    trust = costs.problem.constraints.trust
    mask = np.zeros(_shape(costs), dtype=bool)
    for lane in range(len(costs.lanes)) if trust else ():
        hidden = np.array([not seen for seen in _sees(trust, costs, lane)])  # type: ignore[arg-type]
        before = np.concatenate([[0], np.cumsum(hidden)])
        mask[lane] = before[None, 1:] - before[:-1, None] > 0
    return mask


def _sees(trust: Trust, costs: CostModel, lane: int) -> list[bool]:
    return [trust.permits(costs.device_of(lane).name, label) for label in trust.labels(costs.block_count)]
