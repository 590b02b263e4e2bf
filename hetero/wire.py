"""How a message between stages looks in bytes: a head and a payload, a frame each.

Knows what every message has in common; knows no sockets (`pipeline/link.py`) nor what a payload holds (`wire_body.py`).
Nothing is pickled, and every length is declared in the head and checked against the frames, so that a malformed message
is refused before it is used.
"""

import struct
from dataclasses import astuple

from hetero.batch import BatchResult
from hetero.pipeline.base import TRACE, Control, Hidden, Message
from hetero.wire_body import Body, Frame, WireError, pack, unpack

VERSION = 3
MAGIC = b"hw"
MAX_FRAME_BYTES = 1 << 30

#: magic, version, kind, number of traces, batch id, five counts of the payload; the traces follow
HEAD = struct.Struct("<2sBBIq5I4x")
MAX_TRACES = 1024
MAX_HEAD_BYTES = HEAD.size + TRACE.size * MAX_TRACES


def encode(message: Message) -> tuple[Frame, Frame]:
    """Head and payload of `message`; the payload shares the memory of float32 numbers that are contiguous.

    Raises WireError if a value does not fit: a frame of more than 1 GiB, a seed of more than 64 bits.
    """
    traces = message.traces if isinstance(message, Hidden) else _traces_of(message)
    try:
        body = pack(message)
        head = HEAD.pack(MAGIC, VERSION, body.kind, len(traces) // TRACE.size, _number_of(message), *body.counts)
    except (struct.error, OverflowError) as error:
        raise WireError(f"a value of the message does not fit its field ({error})") from None
    if len(body.payload) > MAX_FRAME_BYTES:
        raise WireError(f"a message of more than {MAX_FRAME_BYTES} bytes cannot be sent; make the batch smaller")
    return head + traces, body.payload


def _number_of(message: Message) -> int:
    return message.number if isinstance(message, Control) else message.batch_id


def _traces_of(message: Message) -> bytes:
    traces = message.traces if isinstance(message, BatchResult) else ()
    return b"".join(TRACE.pack(*astuple(trace)) for trace in traces)


def decode(head: Frame, payload: Frame, with_sampling: bool = True) -> Message:
    """The message in two frames; float32 numbers share the memory of the payload, and are writable where that is.

    Without `with_sampling` a batch comes without its `sampling`, for stages that do not sample.
    Raises WireError unless the frames are exactly a message of this version.
    """
    try:
        magic, version, kind, trace_count, number, *counts = HEAD.unpack_from(head)
        if magic != MAGIC or version != VERSION:
            raise WireError(f"a message of version {version} cannot be read; run version {VERSION} on every node")
        if len(head) != HEAD.size + TRACE.size * trace_count or trace_count > MAX_TRACES:
            raise WireError(f"malformed message: a head of {len(head)} bytes for {trace_count} traces")
        return unpack(Body(kind, counts, payload), number, bytes(head[HEAD.size :]), with_sampling)
    except (struct.error, ValueError) as error:
        raise WireError(f"malformed message: {error}") from None


__all__ = ["MAX_FRAME_BYTES", "MAX_HEAD_BYTES", "VERSION", "Frame", "WireError", "decode", "encode"]
