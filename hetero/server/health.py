"""`grpc.health.v1` for the server as a whole ("") and for our service: serving, or loading and draining."""

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from hetero.server.interceptors import SERVICE

_NAMES = ("", SERVICE)


class Health:
    """Check and Watch; says NOT_SERVING until told otherwise."""

    def __init__(self) -> None:
        self._servicer = health.aio.HealthServicer()

    def add_to(self, server: grpc.aio.Server) -> None:
        health_pb2_grpc.add_HealthServicer_to_server(self._servicer, server)

    async def set_serving(self, serving: bool) -> None:
        """Tell everyone who asks or watches."""
        states = health_pb2.HealthCheckResponse
        for name in _NAMES:
            await self._servicer.set(name, states.SERVING if serving else states.NOT_SERVING)
