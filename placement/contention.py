"""How much devices that share cores or memory slow each other down while both work.

Measured pairs as measured; a pair that was not is taken to halve each other where both compute on the same cores, and
else not to meet. Several that work at once add their shares: three that share one memory take three times as long.
"""

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from placement.profiles import Profile
from placement.types import Device, DeviceKind

Floats = NDArray[np.float64]


def contention_table(devices: Sequence[Device], profile: Profile | None) -> Floats:
    """[D, D], symmetric: seconds more, a second of a device's own, while the other device works too."""
    table = np.array([[_guess(one, other) for other in devices] for one in devices], dtype=float)
    index = {device.name: i for i, device in enumerate(devices)}
    for pair in profile.contentions if profile else ():
        if all(name in index for name in pair.devices):
            a, b = (index[name] for name in pair.devices)
            table[a, b] = table[b, a] = max(0.0, pair.factor - 1)
    np.fill_diagonal(table, 0.0)
    return table


def contended_pairs(table: Floats, devices: Iterable[int]) -> list[tuple[int, int]]:
    """Pairs among `devices` that slow each other down."""
    used = sorted(set(devices))
    return [(a, b) for i, a in enumerate(used) for b in used[i + 1 :] if table[a, b] > 0]


def slow_down(table: Floats, pairs: Iterable[tuple[int, int]]) -> Floats:
    """[D] factors on each device's time where these pairs work at once."""
    factors = np.ones(len(table))
    for a, b in pairs:
        factors[a] += table[a, b]
        factors[b] += table[a, b]
    return factors


def _guess(one: Device, other: Device) -> float:
    if one.node != other.node or not (_on_cores(one) and _on_cores(other)):
        return 0.0
    # No cores named: the device uses all of its node's.
    apart = one.cores and other.cores and not set(one.cores) & set(other.cores)
    return 0.0 if apart else 1.0


def _on_cores(device: Device) -> bool:
    return device.kind is DeviceKind.CPU or device.emulated
