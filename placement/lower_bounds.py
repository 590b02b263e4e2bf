"""What no plan of a workload can be below, without searching: packing of times, and work that flows freely.

Packing: of the k * m + 1 largest times on m machines k + 1 share a machine, so that the k + 1 smallest of these are a
bound (R. L. Graham's argument). Flowing freely: groups are divided at will over accelerators and CPUs, which is what
the linear relaxation of the mixed-integer programme comes to. Transfers and memory only add to both.
"""

from collections.abc import Sequence

import numpy as np

from placement.workload import Group, Workload


def lower_bound(workload: Workload, upper_milliseconds: float) -> float:
    """A bound on the largest load of every plan, contiguous or not; `upper_milliseconds` is some plan's value."""
    # A group too slow for a CPU in any better plan must go to an accelerator.
    bound_to = [g for g in workload.groups if not workload.cpu_count or g.cpu_milliseconds > upper_milliseconds]
    packed = _packed(bound_to, workload.accelerator_count)
    return min(upper_milliseconds, max(packed, _flowing(workload, upper_milliseconds)))


def _packed(groups: Sequence[Group], machines: int) -> float:
    if not machines or not groups:
        return 0.0
    times = np.sort([group.accelerator_milliseconds for group in groups])[::-1]
    sharing = range(1, (len(times) - 1) // machines + 1)
    return max([float(times[0]), *(float(times[k * machines - k : k * machines + 1].sum()) for k in sharing)])


def _flowing(workload: Workload, upper_milliseconds: float) -> float:
    """All accelerators equally busy, all CPUs equally busy, and each kind with what it is best at by comparison."""
    accelerators, cpus = workload.accelerator_count, workload.cpu_count
    legal = [g for g in workload.groups if accelerators and g.accelerator_legal]
    fast = sum(g.accelerator_milliseconds for g in legal) / max(1, accelerators)
    slow = (sum(g.cpu_milliseconds for g in workload.groups) - sum(g.cpu_milliseconds for g in legal)) / max(1, cpus)
    # What accelerators are worst at flows over to CPUs first, the last group in part.
    for group in sorted((g for g in legal if cpus and g.cpu_milliseconds <= upper_milliseconds), key=_advantage):
        if slow >= fast:
            break
        less, more = group.accelerator_milliseconds / accelerators, group.cpu_milliseconds / cpus
        part = min(1.0, (fast - slow) / (less + more)) if less + more else 1.0
        fast, slow = fast - part * less, slow + part * more
    return max(fast, slow)


def _advantage(group: Group) -> float:
    """How many times slower a CPU is."""
    if not group.accelerator_milliseconds:
        return float("inf")
    return group.cpu_milliseconds / group.accelerator_milliseconds
