"""From the engine's thread to the server's event loop, without waiting on either side.

A slow reader finds what has come meanwhile as one chunk, so that neither messages nor wake-ups pile up for it; the
text itself is bounded by the request's `max_tokens`.
"""

import asyncio
import threading

from hetero.engine.requests import Event, Failed, Finished
from hetero.streams import join_chunks
from hetero.types import Chunk

#: Waiting chunks are joined into one when there are this many.
_MOST_CHUNKS = 64


class EventBridge:
    """One request's events. `put` is the engine's sink, from any thread; `take` is awaited by one reader."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._lock = threading.Lock()
        self._chunks: list[Chunk] = []
        self._end: Finished | Failed | None = None
        self._ready = asyncio.Event()
        self._woken = False

    def put(self, event: Event) -> None:
        """Keep an event for the reader and wake it once."""
        with self._lock:
            self._keep(event)
            wake, self._woken = not self._woken, True
        if wake and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._ready.set)

    async def take(self) -> tuple[Chunk | None, Finished | Failed | None]:
        """Wait for events; gives all text that is there as one chunk, and the end if it has come."""
        await self._ready.wait()
        with self._lock:
            self._ready.clear()
            self._woken = False
            chunks, self._chunks = self._chunks, []
            return (join_chunks(chunks) if chunks else None), self._end

    @property
    def waiting(self) -> int:
        """Chunks that are kept for the reader now."""
        return len(self._chunks)

    def _keep(self, event: Event) -> None:
        if not isinstance(event, Chunk):
            self._end = event
            return
        self._chunks.append(event)
        if len(self._chunks) >= _MOST_CHUNKS:
            self._chunks = [join_chunks(self._chunks)]
