"""What can be measured: each engine and precision of each device, in the order in which knowing it pays.

Knows devices and their order; measures nothing.
"""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise

from placement import Device, DeviceKind, Plan, Stage, default_precision
from placement.errors import UnknownDeviceError

#: Inner blocks that are measured as one segment, at most: beside single ones and the whole model they show the slope.
SEVERAL = 8


@dataclass(frozen=True, slots=True)
class Option:
    """One way to run a stage."""

    device: Device
    engine: str
    precision: str

    def __str__(self) -> str:
        return f"{self.device.name}/{self.engine}@{self.precision}"

    def plan(self, *ranges: tuple[int, int]) -> Plan:
        """Stages of this option alone; what is measured need not cover the model."""
        stages = (Stage(self.device, self.engine, first, last, self.precision) for first, last in ranges)
        return Plan(tuple(stages), "it is measured")


def list_options(
    devices: Sequence[Device], engines: Collection[str] = (), precisions: Collection[str] = ()
) -> tuple[Option, ...]:
    """Every option of `devices`, the most valuable first: real devices, preferred engines, default precisions.

    Without `precisions` each device's default one is meant. Raises UnknownDeviceError where no device has one of
    `engines` or `precisions`.
    """
    ranked = sorted(_ranked(devices, engines, precisions), key=lambda item: item[0])
    options = tuple(option for _, option in ranked)
    _check(engines, {name for device in devices for name in device.engines}, "engine")
    _check(precisions, {name for device in devices for name in device.precisions}, "precision")
    return options


def _ranked(
    devices: Sequence[Device], engines: Collection[str], precisions: Collection[str]
) -> Iterator[tuple[tuple[bool, int, int, int], Option]]:
    for number, device in enumerate(devices):
        usual = default_precision(device)
        for place, engine in enumerate(name for name in device.engines if not engines or name in engines):
            for precision in (usual, *(name for name in device.precisions if name != usual)):
                if precision in (precisions or (usual,)):
                    yield (device.emulated, place, precision != usual, number), Option(device, engine, precision)


def _check(asked: Collection[str], known: Collection[str], what: str) -> None:
    for name in asked:
        if name not in known:
            raise UnknownDeviceError(f"no device has the {what} {name!r}; there are: {', '.join(sorted(known))}")


def segment_ranges(block_count: int) -> tuple[tuple[int, int], ...]:
    """The first block, an inner one, several inner ones, the last; what there is of it."""
    if block_count < 4:
        return tuple(pairwise(range(block_count + 1)))
    return (0, 1), (1, 2), (2, min(2 + SEVERAL, block_count - 1)), (block_count - 1, block_count)


def sharing_pairs(devices: Sequence[Device]) -> tuple[tuple[Device, Device], ...]:
    """Pairs of devices that share cores or memory: CPUs of one node, their cores, and what is emulated there."""
    return tuple((one, other) for one, other in combinations(devices, 2) if _shares(one, other))


def _shares(one: Device, other: Device) -> bool:
    on_cpu = all(device.kind is DeviceKind.CPU or device.emulated for device in (one, other))
    return on_cpu and one.node == other.node
