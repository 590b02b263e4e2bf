"""A link between nodes: ZeroMQ over TCP under CURVE, encrypted, with both ends authenticated.

All keys are made by the driver for one link of one pipeline. The receiver accepts exactly one public key and the sender
one server. Knows no stages.
"""

import math

import zmq
import zmq.auth.thread

from hetero.errors import ConfigurationError
from hetero.pipeline.link import Frames, LinkKeys
from hetero.wire import MAX_FRAME_BYTES, WireError

#: Batches in flight are as many as stages; more than this on one link means that nobody reads.
HIGH_WATER_MARK = 1024
LINGER_MILLISECONDS = 1000
ZAP_DOMAIN = "hetero"

Context = zmq.Context[zmq.Socket[bytes]]


def make_keys() -> LinkKeys:
    """Fresh keys for one link."""
    return LinkKeys(*zmq.curve_keypair(), *zmq.curve_keypair())


class CurveInbound:
    """The receiving end, on a free port of `host`. Raises ConfigurationError if it cannot listen there."""

    def __init__(self, host: str, keys: LinkKeys) -> None:
        # ZeroMQ asks one gate-keeper a context who may connect, so each end has a context of its own.
        self._context: Context = zmq.Context()
        self._gate = Gate(self._context, keys.client_public)
        self._socket = self._context.socket(zmq.PULL)
        try:
            self._configure(keys, ipv6=":" in host)
            name = f"[{host}]" if ":" in host else host
            self.address = f"tcp://{name}:{self._socket.bind_to_random_port(f'tcp://{name}')}"
        except zmq.ZMQError as error:
            self.close()
            raise ConfigurationError(
                f"a stage cannot listen for its predecessor on {host}: {error}; "
                "give `ray start` the --node-ip-address that other nodes reach"
            ) from None

    def _configure(self, keys: LinkKeys, ipv6: bool) -> None:
        self._socket.set(zmq.RCVHWM, HIGH_WATER_MARK)
        self._socket.set(zmq.MAXMSGSIZE, MAX_FRAME_BYTES)
        self._socket.set(zmq.IPV6, ipv6)
        self._socket.set(zmq.CURVE_SERVER, True)
        self._socket.set(zmq.CURVE_SECRETKEY, keys.server_secret)
        self._socket.set(zmq.ZAP_DOMAIN, ZAP_DOMAIN.encode())
        self._socket.set(zmq.ZAP_ENFORCE_DOMAIN, True)

    def receive(self) -> Frames:
        frames = [self._socket.recv(copy=False)]
        while frames[-1].more:
            frames.append(self._socket.recv(copy=False))
        if len(frames) != 2:
            raise WireError(f"malformed message: {len(frames)} frames")
        return frames[0].buffer, frames[1].buffer

    def poll(self, timeout_seconds: float) -> Frames | None:
        return self.receive() if self._socket.poll(math.ceil(timeout_seconds * 1000)) else None

    def close(self) -> None:
        self._socket.close(0)
        self._gate.close()
        self._context.term()


class CurveOutbound:
    """The sending end, which connects whenever the receiver is there."""

    def __init__(self, address: str, keys: LinkKeys) -> None:
        self._context: Context = zmq.Context()
        self._socket = self._context.socket(zmq.PUSH)
        self._socket.set(zmq.SNDHWM, HIGH_WATER_MARK)
        self._socket.set(zmq.LINGER, LINGER_MILLISECONDS)
        self._socket.set(zmq.IPV6, "[" in address)
        self._socket.set(zmq.CURVE_SERVERKEY, keys.server_public)
        self._socket.set(zmq.CURVE_PUBLICKEY, keys.client_public)
        self._socket.set(zmq.CURVE_SECRETKEY, keys.client_secret)
        self._socket.connect(address)

    def send(self, frames: Frames) -> None:
        # Copied on the way out: an engine may overwrite its output as soon as this returns.
        self._socket.send(frames[0], zmq.SNDMORE)
        self._socket.send(frames[1])

    def close(self) -> None:
        self._socket.close()
        self._context.term()


class Gate:
    """Answers ZeroMQ's question who may connect (ZAP, RFC 27): exactly the peer with `client_public`."""

    def __init__(self, context: Context, client_public: bytes) -> None:
        self._allowed = client_public
        self._thread = zmq.auth.thread.ThreadAuthenticator(context)
        self._thread.start()
        self._thread.configure_curve_callback(ZAP_DOMAIN, credentials_provider=self)

    def callback(self, domain: str, key: bytes) -> bool:
        return key == self._allowed

    def close(self) -> None:
        self._thread.stop()
