"""How a server listens: address, credentials, bounds. Values only."""

from dataclasses import dataclass

from hetero.server.tls import ServerTls

#: Calls that may wait to be looked at. Beyond gRPC's own thousand some end as cancelled, without a word.
MAX_PENDING = 2**16


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerSettings:
    """Where and how to listen. Port 0 takes a free one. `token` is what clients must send; send it only over TLS.

    `max_message_bytes` bounds a message in either direction, `max_concurrent` the calls in progress (more are refused
    with RESOURCE_EXHAUSTED). A client that is silent for `keepalive_seconds` is pinged, and given up
    `keepalive_timeout_seconds` later. `min_ping_seconds` is how often clients may ping. A stopping server gives calls
    in progress `drain_seconds` to end.
    """

    host: str = "127.0.0.1"
    port: int = 50051
    tls: ServerTls | None = None
    token: str | None = None
    max_message_bytes: int = 16 * 2**20
    max_concurrent: int = 1024
    keepalive_seconds: float = 30.0
    keepalive_timeout_seconds: float = 10.0
    min_ping_seconds: float = 10.0
    drain_seconds: float = 30.0

    @property
    def address(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"

    def channel_options(self) -> tuple[tuple[str, int], ...]:
        """As gRPC names them. Ports are not shared, so that a second server on a port is an error and not a lottery."""
        return (
            ("grpc.so_reuseport", 0),
            ("grpc.max_receive_message_length", self.max_message_bytes),
            ("grpc.max_send_message_length", self.max_message_bytes),
            ("grpc.keepalive_time_ms", int(self.keepalive_seconds * 1000)),
            ("grpc.keepalive_timeout_ms", int(self.keepalive_timeout_seconds * 1000)),
            ("grpc.keepalive_permit_without_calls", 1),
            ("grpc.http2.min_recv_ping_interval_without_data_ms", int(self.min_ping_seconds * 1000)),
            ("grpc.server.max_pending_requests", MAX_PENDING),
            ("grpc.server.max_pending_requests_hard_limit", MAX_PENDING),
        )
