"""Which calls are in progress, so that a server can wait for them, and a line in the log for each that ended."""

import asyncio
import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager

logger = logging.getLogger(__name__)


class Calls:
    """Counts the calls of one event loop. Those of a server under a policy are not `told` here: it says what may be."""

    def __init__(self, told: bool = True) -> None:
        self._told = told
        self._count = 0
        self._idle = asyncio.Event()
        self._idle.set()

    @contextmanager
    def one(self, method: str, request_id: str) -> Iterator[None]:
        """A call from here to the end of the block, however it ends."""
        began = time.monotonic()
        self._count += 1
        self._idle.clear()
        outcome = "ended early"
        try:
            yield
            outcome = "done"
        finally:
            if self._told:
                logger.info("%s %s %s after %.3f s", method, request_id, outcome, time.monotonic() - began)
            self._count -= 1
            if not self._count:
                self._idle.set()

    async def wait_idle(self, timeout_seconds: float) -> bool:
        """Wait until no call is in progress; False where some still are after the timeout."""
        try:
            await asyncio.wait_for(self._idle.wait(), timeout_seconds)
        except TimeoutError:
            return False
        return True
