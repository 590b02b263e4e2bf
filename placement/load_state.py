"""The loads of a workload's devices under an assignment, kept up to date while groups move one at a time.

The definition of a load is `milp.largest_load`'s: compute, and for accelerators each transfer that crosses their
boundary once in and once out.
"""

from collections.abc import Sequence

from placement.workload import Workload


class LoadState:
    """One owner: the search that moves groups. `loads` [devices] in milliseconds, `sizes` [accelerators] in bytes."""

    def __init__(self, workload: Workload, device_of: Sequence[int]) -> None:
        self.accelerators = workload.accelerator_count
        self.devices = workload.accelerator_count + workload.cpu_count
        self.capacity = workload.accelerator_bytes
        self.compute = [
            [g.accelerator_milliseconds] * self.accelerators + [g.cpu_milliseconds] * workload.cpu_count
            for g in workload.groups
        ]
        self.size = [group.size_bytes for group in workload.groups]
        self.legal = [group.accelerator_legal for group in workload.groups]
        costly = [transfer for transfer in workload.transfers if transfer.milliseconds > 0]
        self.source = [transfer.source for transfer in costly]
        self.cost = [transfer.milliseconds for transfer in costly]
        self.touched: list[list[int]] = [[] for _ in workload.groups]
        for number, transfer in enumerate(costly):
            for group in {transfer.source, *transfer.targets}:
                self.touched[group].append(number)
        self.targets_of: list[list[int]] = [[] for _ in workload.groups]
        for number, transfer in enumerate(costly):
            for group in transfer.targets:
                self.targets_of[group].append(number)
        self.device_of = list(device_of)
        self.loads = [0.0] * self.devices
        self.sizes = [0.0] * self.devices
        self.targets_on: list[dict[int, int]] = [{} for _ in costly]
        for group, device in enumerate(self.device_of):
            self.loads[device] += self.compute[group][device]
            self.sizes[device] += self.size[group]
            self._count(group, device, 1)
        for number in range(len(costly)):
            self._charge(number, 1.0)

    def allows(self, group: int, device: int, growth: float) -> bool:
        """Whether the device may hold the group, and so many bytes more than it holds."""
        if device >= self.accelerators:
            return True
        return self.legal[group] and self.sizes[device] + growth <= self.capacity

    def matters(self, group: int) -> bool:
        """Whether where the group is changes any load at all."""
        return bool(self.touched[group]) or any(self.compute[group])

    def move(self, group: int, device: int) -> None:
        """Put a group on another device."""
        before = self.device_of[group]
        for number in self.touched[group]:
            self._charge(number, -1.0)
        self.loads[before] -= self.compute[group][before]
        self.sizes[before] -= self.size[group]
        self._count(group, before, -1)
        self.device_of[group] = device
        self.loads[device] += self.compute[group][device]
        self.sizes[device] += self.size[group]
        self._count(group, device, 1)
        for number in self.touched[group]:
            self._charge(number, 1.0)

    def _count(self, group: int, device: int, change: int) -> None:
        for number in self.targets_of[group]:
            counts = self.targets_on[number]
            counts[device] = counts.get(device, 0) + change
            if not counts[device]:
                del counts[device]

    def _charge(self, number: int, sign: float) -> None:
        home, counts = self.device_of[self.source[number]], self.targets_on[number]
        amount = sign * self.cost[number]
        if len(counts) > (home in counts) and home < self.accelerators:
            self.loads[home] += amount
        for device in counts:
            if device != home and device < self.accelerators:
                self.loads[device] += amount
