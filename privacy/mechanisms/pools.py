"""Noise drawn ahead of time: taking it costs a copy, so the sampler's time says nothing of a request.

Each sample is given out once. A forked child begins with an empty pool, else it would give out its parent's samples
again. A snapshot of a virtual machine that is resumed twice repeats them too; nothing here can tell.
"""

import os
import threading
import weakref
from collections.abc import Callable

import numpy as np

from privacy.mechanisms.base import Integers

#: Every pool of this process, for the fork handler.
_pools: "weakref.WeakSet[Pool]" = weakref.WeakSet()


class Pool:
    """Up to `size` samples of `draw`, refilled on a thread of its own once fewer than half are left.

    It begins to fill at the second call: what is used once needs no stock. `fill` fills it at once.
    `draw(n)` gives int64 [n] and may be called from any thread. Where the pool runs dry, the caller draws the rest.
    """

    def __init__(self, draw: Callable[[int], Integers], size: int) -> None:
        self._draw, self._size = draw, size
        self.forget()
        _pools.add(self)

    def forget(self) -> None:
        """Throw away all samples, and locks that another thread may have held when this process was forked."""
        self._lock = threading.Lock()
        self._samples = np.empty(0, np.int64)
        self._filling = False
        self._wanted = False
        self._process = os.getpid()

    def fill(self) -> None:
        """Draw until the pool is full, on this thread."""
        with self._lock:
            missing = self._size - len(self._samples)
            self._wanted = True
        self._put(self._draw(missing) if missing > 0 else np.empty(0, np.int64), os.getpid())

    def take(self, count: int) -> Integers:
        """`count` samples that nobody else gets, int64 [count]."""
        if os.getpid() != self._process:
            # A process made without Python's fork handlers.
            self.forget()
        with self._lock:
            taken, self._samples = self._samples[:count], self._samples[count:]
            refill = self._wanted and not self._filling and 2 * len(self._samples) < self._size
            self._filling = self._filling or refill
            self._wanted = True
        if refill:
            threading.Thread(target=self._refill, name="noise-pool", daemon=True).start()
        return taken if len(taken) == count else np.concatenate([taken, self._draw(count - len(taken))])

    @property
    def ready(self) -> int:
        """Samples at hand now."""
        with self._lock:
            return len(self._samples)

    def _refill(self) -> None:
        try:
            self.fill()
        finally:
            self._filling = False

    def _put(self, samples: Integers, process: int) -> None:
        with self._lock:
            if process == self._process:
                self._samples = np.concatenate([self._samples, samples])


def _forget_all() -> None:
    for pool in list(_pools):
        pool.forget()


os.register_at_fork(after_in_child=_forget_all)
