"""A link on one node: a UNIX stream socket in a folder that only this user may enter.

The sender's thread writes into the kernel and the receiver's wakes up from it: one switch of threads a hop, where a
messaging library with threads of its own takes three, which is most of a hop's time once caches are cold. A message
that the kernel does not take at once is finished by a thread, so that sending never waits for a busy receiver.
"""

import os
import select
import shutil
import socket
import struct
import tempfile
from collections.abc import Sequence
from pathlib import Path
from queue import SimpleQueue
from threading import Lock, Thread

from hetero.errors import ConfigurationError
from hetero.pipeline.link import Frames, LinkClosedError
from hetero.wire import MAX_FRAME_BYTES, MAX_HEAD_BYTES, Frame, WireError

#: Lengths of the two frames that follow.
PREFIX = struct.Struct("<IQ")
MAX_PATH_BYTES = 100


class UnixInbound:
    """The receiving end; its socket's folder is gone as soon as the sender is there."""

    def __init__(self) -> None:
        try:
            self._folder = _private_folder()
            self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            self.address = str(self._folder / "in")
            self._listener.bind(self.address)
            self._listener.listen(1)
        except OSError as error:
            raise ConfigurationError(f"a stage cannot listen for its predecessor: {error}; is the disk full?") from None
        self._peer: socket.socket | None = None
        self._ready = select.poll()
        self._ready.register(self._listener, select.POLLIN)

    def _accept(self) -> socket.socket:
        """Wait for the one sender, and let nobody else come after it."""
        if self._peer is None:
            self._peer, _ = self._listener.accept()
            self._ready.unregister(self._listener)
            self._ready.register(self._peer, select.POLLIN)
            self._stop_listening()
        return self._peer

    def _stop_listening(self) -> None:
        self._listener.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    def receive(self) -> Frames:
        peer = self._accept()
        head_bytes, payload_bytes = PREFIX.unpack(_take(peer, PREFIX.size))
        if head_bytes > MAX_HEAD_BYTES or payload_bytes > MAX_FRAME_BYTES:
            raise WireError(f"malformed message: frames of {head_bytes} and {payload_bytes} bytes")
        both = _take(peer, head_bytes + payload_bytes)
        return both[:head_bytes], both[head_bytes:]

    def poll(self, timeout_seconds: float) -> Frames | None:
        if self._peer is None and self._ready.poll(timeout_seconds * 1000):
            self._accept()
        return self.receive() if self._peer and self._ready.poll(timeout_seconds * 1000) else None

    def close(self) -> None:
        self._stop_listening()
        if self._peer is not None:
            self._peer.close()


def _take(peer: socket.socket, size: int) -> memoryview:
    buffer = memoryview(bytearray(size))
    at = 0
    while at < size:
        try:
            count = peer.recv_into(buffer[at:], 0, socket.MSG_WAITALL)
        except ConnectionError:
            count = 0
        if not count:
            raise LinkClosedError
        at += count
    return buffer


def _private_folder() -> Path:
    """A new folder of mode 0700, in /tmp where the usual place is too long for a socket's name."""
    usual = tempfile.gettempdir()
    place = usual if len(os.fsencode(usual)) < MAX_PATH_BYTES - 30 else "/tmp"
    return Path(tempfile.mkdtemp(prefix="hetero-link-", dir=place))


class UnixOutbound:
    """The sending end."""

    def __init__(self, address: str) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self._socket.connect(address)
        except OSError as error:
            self._socket.close()
            raise ConfigurationError(f"a stage cannot reach the next one ({error}); was it stopped?") from None
        self._backlog: SimpleQueue[memoryview | None] = SimpleQueue()
        self._waiting = 0
        self._lock = Lock()
        self._writer: Thread | None = None
        self._broken = False

    def send(self, frames: Frames) -> None:
        head, payload = frames
        parts = (PREFIX.pack(len(head), len(payload)) + head, payload)
        with self._lock:
            sent = 0 if self._waiting else self._send_now(parts)
            if sent < len(parts[0]) + len(payload):
                self._send_later(memoryview(b"".join(parts))[sent:])
        if self._broken:
            raise LinkClosedError

    def _send_now(self, parts: Sequence[Frame]) -> int:
        try:
            return self._socket.sendmsg(parts, (), socket.MSG_DONTWAIT)
        except BlockingIOError:
            return 0
        except OSError:
            raise LinkClosedError from None

    def _send_later(self, rest: memoryview) -> None:
        self._waiting += 1
        self._backlog.put(rest)
        if self._writer is None:
            self._writer = Thread(target=self._write, name="link-writer", daemon=True)
            self._writer.start()

    def _write(self) -> None:
        while (rest := self._backlog.get()) is not None:
            try:
                self._socket.sendall(rest)
            except OSError:
                self._broken = True
                return
            with self._lock:
                self._waiting -= 1

    def close(self) -> None:
        if self._writer is not None:
            self._backlog.put(None)
            self._writer.join(timeout=1.0)
        self._socket.close()
