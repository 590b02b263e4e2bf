"""Messages between gateway and worker: whole or refused, and never waited for without an end."""

import socket
import struct
import threading
import time
from collections.abc import Iterator

import pytest

from privacy.he.frames import FrameError, receive_frame, send_frame

Pair = tuple[socket.socket, socket.socket]


@pytest.fixture
def pair() -> Iterator[Pair]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours, theirs


def test_header_and_parts_come_whole(pair: Pair) -> None:
    parts = [b"", b"x" * 3_000_000, b"\0" * 10]
    sender = threading.Thread(target=send_frame, args=(pair[0], {"job": "apply"}, parts))
    sender.start()
    assert receive_frame(pair[1], 4_000_000) == ({"job": "apply"}, parts)
    sender.join()


@pytest.mark.parametrize(
    "data",
    [
        struct.pack("!II", 1 << 30, 0),
        struct.pack("!II", 2, 1 << 20),
        struct.pack("!II", 4, 0) + b"nope",
        struct.pack("!II", 2, 0) + b"[]",
        struct.pack("!II", 14, 1) + b'{"sizes": [-1]}',
        struct.pack("!II", 15, 2) + b'{"sizes": [1]} ',
        struct.pack("!II", 20, 1) + b'{"sizes": [9999999]} ',
        struct.pack("!II", 17, 1) + b'{"sizes": [true]}',
    ],
)
def test_what_is_no_frame_is_refused(data: bytes, pair: Pair) -> None:
    pair[0].sendall(data + b" " * 32)
    with pytest.raises(FrameError):
        receive_frame(pair[1], 1000)


def test_a_silent_side_is_given_up_at_the_deadline(pair: Pair) -> None:
    with pytest.raises(FrameError):
        receive_frame(pair[1], 1000, time.monotonic() + 0.05)


def test_a_side_that_does_not_read_is_given_up_at_the_deadline(pair: Pair) -> None:
    with pytest.raises(FrameError):
        send_frame(pair[0], {}, [b"x" * 50_000_000], time.monotonic() + 0.05)


def test_a_closed_side_is_an_error(pair: Pair) -> None:
    pair[0].close()
    with pytest.raises(FrameError):
        receive_frame(pair[1], 1000)
