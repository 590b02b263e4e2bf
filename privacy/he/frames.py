"""Messages between the gateway and its worker: a JSON header and byte strings, each with its length. No pickles.

Both sides read with bounds, for the worker has read hostile bytes and may be in somebody else's hands.
"""

import json
import socket
import struct
import time
from collections.abc import Mapping, Sequence
from typing import Any

_LENGTHS = struct.Struct("!II")
_MOST_HEADER_BYTES = 1 << 20
_MOST_PARTS = 4096

Header = Mapping[str, Any]


class FrameError(Exception):
    """The other side is gone, too late, or not speaking frames."""


def send_frame(
    channel: socket.socket, header: Header, parts: Sequence[bytes] = (), deadline: float | None = None
) -> None:
    """Write one message. Raises FrameError where the other side is gone, or `deadline` (monotonic) passes."""
    head = json.dumps({**header, "sizes": [len(part) for part in parts]}).encode()
    try:
        for piece in (_LENGTHS.pack(len(head), len(parts)) + head, *parts):
            channel.settimeout(_left(deadline))
            channel.sendall(piece)
    except OSError as error:
        raise FrameError(type(error).__name__) from None


def receive_frame(
    channel: socket.socket, most_bytes: int, deadline: float | None = None
) -> tuple[dict[str, Any], list[bytes]]:
    """Read one message whose parts have at most `most_bytes` together. Raises FrameError."""
    length, count = _LENGTHS.unpack(_exactly(channel, _LENGTHS.size, deadline))
    if length > _MOST_HEADER_BYTES or count > _MOST_PARTS:
        raise FrameError("the header is too long")
    header = _header(_exactly(channel, length, deadline))
    sizes = header.pop("sizes", None)
    if not isinstance(sizes, list) or len(sizes) != count or not all(type(n) is int and n >= 0 for n in sizes):
        raise FrameError("the header does not fit its parts")
    if sum(sizes) > most_bytes:
        raise FrameError("the parts are too long")
    return header, [_exactly(channel, size, deadline) for size in sizes]


def _header(text: bytes) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except ValueError:
        raise FrameError("the header is no JSON") from None
    if not isinstance(found, dict):
        raise FrameError("the header is no object")
    return found


def _exactly(channel: socket.socket, size: int, deadline: float | None) -> bytes:
    data = bytearray(size)
    view, got = memoryview(data), 0
    while got < size:
        try:
            channel.settimeout(_left(deadline))
            count = channel.recv_into(view[got:])
        except OSError as error:
            raise FrameError(type(error).__name__) from None
        if not count:
            raise FrameError("the other side is gone")
        got += count
    return bytes(data)


def _left(deadline: float | None) -> float | None:
    if deadline is None:
        return None
    left = deadline - time.monotonic()
    if left <= 0:
        raise FrameError("the time is over")
    return left
