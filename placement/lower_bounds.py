"""What no plan of a workload can be below, without searching: packing of times, and the linear relaxation.

Packing: of the k * m + 1 largest times on m machines k + 1 share a machine, so that the k + 1 smallest of these are a
bound (R. L. Graham's argument). Transfers only add to it.
"""

import numpy as np

from placement.milp import relaxed_bound
from placement.workload import Workload


def lower_bound(workload: Workload, upper_milliseconds: float) -> float:
    """A bound on the largest load of every plan, contiguous or not; `upper_milliseconds` is some plan's value."""
    packed = packing_bound(workload, upper_milliseconds)
    return min(upper_milliseconds, max(packed, relaxed_bound(workload, upper_milliseconds)))


def packing_bound(workload: Workload, upper_milliseconds: float) -> float:
    """The bound from packing. A group too slow for a CPU in any better plan must go to an accelerator."""
    machines = workload.accelerator_count
    if not machines:
        return 0.0
    bound_to = [g for g in workload.groups if not workload.cpu_count or g.cpu_milliseconds > upper_milliseconds]
    times = np.sort([group.accelerator_milliseconds for group in bound_to])[::-1]
    sharing = range(1, (len(times) - 1) // machines + 1)
    bounds = [float(times[k * machines - k : k * machines + 1].sum()) for k in sharing]
    return max([*bounds, float(times[0]) if len(times) else 0.0])
