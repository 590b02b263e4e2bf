"""What the size and the time of an answer may tell: messages are padded, and leave on a grid of times.

Knows messages that have a field `padding`, and a clock; the values are the policy's.
"""

import asyncio
import math
import time
from typing import Protocol

#: Bytes of the field's tag, and the least bytes of its length.
_TAG_BYTES, _LEAST_LENGTH_BYTES = 2, 1


class Padded(Protocol):
    """A generated message with the field `padding`."""

    padding: bytes

    def ByteSize(self) -> int: ...


def pad(message: Padded, multiple_bytes: int) -> None:
    """Make the message's size a multiple of `multiple_bytes` (0: leave it), by at most two multiples more."""
    message.padding = b""
    if multiple_bytes <= 0:
        return
    size = message.ByteSize()
    target = math.ceil((size + _TAG_BYTES + _LEAST_LENGTH_BYTES + 1) / multiple_bytes) * multiple_bytes
    while (filler := _filler_bytes(target - size)) is None:
        target += multiple_bytes
    message.padding = bytes(filler)


def _filler_bytes(room: int) -> int | None:
    """How many bytes fill `room` together with their tag and length; None where no number does (a length grew)."""
    for length_bytes in range(_LEAST_LENGTH_BYTES, 6):
        count = room - _TAG_BYTES - length_bytes
        if count > 0 and length_bytes == max(1, math.ceil(count.bit_length() / 7)):
            return count
    return None


class Departure:
    """When an answer may leave: `wait` ends at the next multiple of the grid after the request's arrival.

    A refusal after the admission waits as well, so that failing fast tells nothing.
    """

    def __init__(self) -> None:
        self._arrived_at_seconds = time.monotonic()

    @property
    def elapsed_seconds(self) -> float:
        return time.monotonic() - self._arrived_at_seconds

    async def wait(self, grid_seconds: float) -> None:
        """Return at once where the grid is 0."""
        if grid_seconds > 0:
            elapsed = self.elapsed_seconds
            await asyncio.sleep(math.ceil(elapsed / grid_seconds) * grid_seconds - elapsed)
