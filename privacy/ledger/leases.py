"""Blocks of rho that are durably charged ahead, so that single requests draw on memory alone.

What nobody drew when a process ends in a crash stays charged; a clean end gives it back. Knows no accounts.
"""

import threading
from dataclasses import dataclass, field


@dataclass(slots=True)
class Leases:
    """What is left of each lease, in parts of 1e-9 rho, by (account's key, window). Safe to use from any thread."""

    left: dict[tuple[str, str], int] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def draw(self, place: tuple[str, str], nanorho: int) -> bool:
        """Take that much; False, and nothing taken, where less is left."""
        with self.lock:
            left = self.left.get(place, 0)
            if left < nanorho:
                return False
            self.left[place] = left - nanorho
            return True

    def take(self, place: tuple[str, str]) -> int:
        """Take all that is left of one."""
        with self.lock:
            return self.left.pop(place, 0)

    def add(self, place: tuple[str, str], nanorho: int) -> None:
        with self.lock:
            self.left[place] = self.left.get(place, 0) + nanorho

    def take_all(self) -> dict[tuple[str, str], int]:
        """Everything that nobody drew; nothing is left."""
        with self.lock:
            taken, self.left = self.left, {}
        return {place: left for place, left in taken.items() if left}
