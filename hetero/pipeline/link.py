"""The link between two stages: one inbound end that listens, and one outbound end that connects to it.

On one node it is a UNIX socket (`link_unix.py`), between nodes encrypted TCP (`link_curve.py`); keys say which. Knows
messages only as two frames; knows no Ray and no stages.
"""

from dataclasses import dataclass
from typing import Protocol

from hetero import wire
from hetero.pipeline.base import Message

Frames = tuple[wire.Frame, wire.Frame]


class LinkClosedError(Exception):
    """The process at the other end of a link is gone."""


@dataclass(frozen=True, slots=True)
class LinkKeys:
    """CURVE keys (Z85 text) of one link between nodes. Secret keys are kept out of `repr`."""

    server_public: bytes
    server_secret: bytes
    client_public: bytes
    client_secret: bytes

    def __repr__(self) -> str:
        return f"LinkKeys(server_public={self.server_public!r}, client_public={self.client_public!r})"


class Inbound(Protocol):
    """The receiving end. `address` is where the one sender connects."""

    address: str

    def receive(self) -> Frames:
        """The two frames of the next message; blocks. Raises WireError if they are malformed, LinkClosedError."""
        ...

    def poll(self, timeout_seconds: float) -> Frames | None:
        """The next message, or None after `timeout_seconds`; raises as `receive` does."""
        ...

    def close(self) -> None:
        """Free the socket and what it has on disk."""
        ...


class Outbound(Protocol):
    """The sending end."""

    def send(self, frames: Frames) -> None:
        """Send a message, without waiting for the receiver to read it; the frames may be overwritten at once.

        Raises LinkClosedError.
        """
        ...

    def close(self) -> None:
        """Free the socket, once what was sent has left or a second has passed."""
        ...


def open_inbound(host: str, keys: LinkKeys | None) -> Inbound:
    """Listen: with `keys` on a free TCP port of `host` for the peer with the client's key, else for this node's peer.

    Raises ConfigurationError if that is not possible.
    """
    if keys is None:
        from hetero.pipeline.link_unix import UnixInbound

        return UnixInbound()
    from hetero.pipeline.link_curve import CurveInbound

    return CurveInbound(host, keys)


def open_outbound(address: str, keys: LinkKeys | None) -> Outbound:
    """Connect to the inbound end at `address`. Raises ConfigurationError if that is not possible."""
    if keys is None:
        from hetero.pipeline.link_unix import UnixOutbound

        return UnixOutbound(address)
    from hetero.pipeline.link_curve import CurveOutbound

    return CurveOutbound(address, keys)


def read(frames: Frames, with_sampling: bool = True) -> Message:
    """The message in received frames, `with_sampling` as for `wire.decode`. Raises WireError if it is malformed."""
    return wire.decode(frames[0], frames[1], with_sampling)
