"""Refusals as values with a sentence: what a mask forbids, in words that name the device and the way out.

Knows masks and costs; decides nothing.
"""

from collections.abc import Callable, Mapping

import numpy as np

from placement.constraints import DataLabel, PlacementRefusal, RefusalReason
from placement.costs import CostModel
from placement.masks import Mask, lane_key
from placement.memory import usable_bytes


def refusals(costs: CostModel, masks: Mapping[RefusalReason, Mask]) -> tuple[PlacementRefusal, ...]:
    """What each mask says of devices and lanes, once each: what is refused altogether, or the whole model is."""
    found: dict[tuple[str, str], PlacementRefusal] = {}
    for reason, mask in masks.items():
        for lane in range(len(costs.lanes)):
            if mask[lane, 0, -1] and reason is not RefusalReason.PIN:
                refusal = refusal_of(costs, reason, lane, 0, costs.block_count)
                found.setdefault((reason, refusal.sentence), refusal)
    for pin in costs.problem.constraints.pins:
        sentence = f"blocks {pin.first}-{pin.last} are pinned to {pin.device}: no other device takes one of them"
        refusal = PlacementRefusal(RefusalReason.PIN, sentence, pin.device, "", "", pin.first, pin.last)
        found[RefusalReason.PIN, sentence] = refusal
    return tuple(found.values())


def refusal_of(costs: CostModel, reason: RefusalReason, lane: int, first: int, last: int) -> PlacementRefusal:
    """Why blocks [first, last) cannot be in a lane, as a value and in words."""
    device, option = costs.device_of(lane).name, costs.lanes[lane]
    sentence = _SENTENCES[reason](costs, lane, first, last)
    if reason in _OF_DEVICE:
        return PlacementRefusal(reason, sentence, device, "", "", first, last)
    return PlacementRefusal(reason, sentence, device, option.engine, option.precision, first, last)


def _memory_sentence(costs: CostModel, lane: int, first: int, last: int) -> str:
    device, usable = costs.device_of(lane), usable_bytes(costs.device_of(lane))
    return (
        f"blocks {first}-{last} need {_mebibytes(costs.memory_bytes[lane, first, last])} in"
        f" {costs.lanes[lane].precision} on {device.name}, which may fill {_mebibytes(usable)} of its"
        f" {_mebibytes(device.memory_bytes)}; at most {_most_blocks(costs, lane, usable)} blocks fit"
    )


def _most_blocks(costs: CostModel, lane: int, usable: float) -> int:
    firsts, lasts = np.nonzero((costs.memory_bytes[lane] <= usable) & ~np.tri(costs.block_count + 1, dtype=bool))
    return int((lasts - firsts).max(initial=0))


def _engine_sentence(costs: CostModel, lane: int, first: int, last: int) -> str:
    profile, key = costs.problem.profile, lane_key(costs, lane)
    said = next(
        (r.reason for r in (profile.refusals if profile else ()) if (r.device, r.engine, r.precision) == key), ""
    )
    return f"{key[1]} refused the model on {key[0]} in {key[2]}: {said}"


def _trust_sentence(costs: CostModel, lane: int, first: int, last: int) -> str:
    trust, device = costs.problem.constraints.trust, costs.device_of(lane).name
    assert trust is not None, "there is no trust mask without a trust policy"
    labels: tuple[DataLabel, ...] = trust.labels(costs.block_count)[first : last + 1]
    unseen = dict.fromkeys(str(label) for label in labels if not trust.permits(device, label))
    return f"blocks {first}-{last} would show {device} {' and '.join(unseen)}, for which it has no clearance"


def _mebibytes(count: float) -> str:
    return f"{count / 2**20:,.0f} MiB"


#: Reasons that hold whatever engine drives the device.
_OF_DEVICE = (
    RefusalReason.EXCLUDED,
    RefusalReason.EMULATED,
    RefusalReason.LOST,
    RefusalReason.TRUST,
    RefusalReason.POWER_UNKNOWN,
)

_SENTENCES: dict[RefusalReason, Callable[[CostModel, int, int, int], str]] = {
    RefusalReason.MEMORY: _memory_sentence,
    RefusalReason.ENGINE: _engine_sentence,
    RefusalReason.PRECISION: lambda c, i, a, b: f"{c.lanes[i].precision} on {c.device_of(i).name} is not allowed",
    RefusalReason.PIN: lambda c, i, a, b: f"blocks {a}-{b} on {c.device_of(i).name} go against a pin",
    RefusalReason.EXCLUDED: lambda c, i, a, b: f"{c.device_of(i).name} is excluded",
    RefusalReason.EMULATED: lambda c, i, a, b: (
        f"{c.device_of(i).name} is emulated, and emulated devices are not allowed"
    ),
    RefusalReason.LOST: lambda c, i, a, b: f"{c.device_of(i).name} is gone",
    RefusalReason.TRUST: _trust_sentence,
    RefusalReason.POWER_UNKNOWN: lambda c, i, a, b: f"the power of {c.device_of(i).name} is not known",
}
