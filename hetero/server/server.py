"""The gRPC server: listens first, serves once a runtime is there, drains before it stops.

Runs on an event loop of its own in a thread of its own, so that the caller's thread loads the model and takes
signals. Knows ports and life cycles; the methods are in `servicer.py`.
"""

import asyncio
import errno
import signal
import socket
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Any, TypeVar

import grpc
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection

from hetero.errors import ConfigurationError, StageLostError
from hetero.runtime import Runtime
from hetero.server.calls import Calls
from hetero.server.health import Health
from hetero.server.interceptors import SERVICE, EdgeInterceptor, TokenInterceptor
from hetero.server.servicer import Servicer
from hetero.server.settings import ServerSettings
from hetero.server.tls import ServerTls
from hetero.v1.inference_pb2_grpc import add_HeteroServiceServicer_to_server

#: How long the last statuses may take to leave.
_FLUSH_SECONDS = 0.2

T = TypeVar("T")


class Server:
    """Listens from its construction on, and answers NOT_SERVING until `attach`. Close it, or use it in a `with` block.

    Raises ConfigurationError where the address cannot be listened on or a certificate not be used.
    """

    def __init__(self, settings: ServerSettings) -> None:
        self.settings = settings
        self._servicer = Servicer()
        self._closed = False
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="grpc-server", daemon=True)
        self._thread.start()
        try:
            self.port = self._call(self._start())
        except BaseException:
            self._end_loop()
            raise

    def attach(self, runtime: Runtime) -> None:
        """Serve `runtime`, which stays the caller's to close, after this server."""
        self._servicer.attach(runtime)
        self._call(self._health.set_serving(True))

    def close(self, drain_seconds: float | None = None) -> None:
        """Refuse new calls, let those in progress end for a while, cancel the rest; a second call does nothing."""
        if self._closed:
            return
        self._closed = True
        self._servicer.detach()
        try:
            self._call(self._stop(self.settings.drain_seconds if drain_seconds is None else drain_seconds))
        finally:
            self._end_loop()

    def __enter__(self) -> "Server":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    async def _start(self) -> int:
        settings = self.settings
        self._calls = Calls()
        guards = [TokenInterceptor(settings.token)] if settings.token else []
        self._server = grpc.aio.server(
            interceptors=[*guards, EdgeInterceptor(self._calls, self._notice)],
            options=settings.channel_options(),
            maximum_concurrent_rpcs=settings.max_concurrent,
        )
        add_HeteroServiceServicer_to_server(self._servicer, self._server)
        self._health = Health()
        self._health.add_to(self._server)
        await self._health.set_serving(False)
        services = (SERVICE, health_pb2.DESCRIPTOR.services_by_name["Health"].full_name, reflection.SERVICE_NAME)
        reflection.enable_server_reflection(services, self._server)
        port = _listen(self._server, settings)
        await self._server.start()
        return port

    async def _notice(self, error: Exception) -> None:
        """A stage that died ends the service: balancers shall look elsewhere."""
        if isinstance(error, StageLostError):
            await self._health.set_serving(False)

    async def _stop(self, drain_seconds: float) -> None:
        """Wait for calls of our service alone: watchers of the health would never end by themselves."""
        await self._health.set_serving(False)
        await self._calls.wait_idle(drain_seconds)
        await self._server.stop(_FLUSH_SECONDS)

    def _call(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    def _end_loop(self) -> None:
        self._call(_cancel_tasks())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


async def _cancel_tasks() -> None:
    """End what is left on this loop, so that nothing is torn off in the middle."""
    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await asyncio.get_running_loop().shutdown_default_executor()


def serve(
    runtime: Runtime | Callable[[], Runtime],
    host: str = "127.0.0.1",
    port: int = 50051,
    *,
    tls: ServerTls | None = None,
    token: str | None = None,
    settings: ServerSettings | None = None,
    on_listening: Callable[[int], None] | None = None,
    on_serving: Callable[[Runtime], None] | None = None,
) -> None:
    """Serve until SIGINT or SIGTERM, then drain. `settings`, where given, stand for all other values.

    A runtime that is given stays open; one that is made here, after the port is known to be free, is closed.
    Raises ConfigurationError where the port or a certificate cannot be used, and what making the runtime raises.
    """
    chosen = settings or ServerSettings(host=host, port=port, tls=tls, token=token)
    with Server(chosen) as server:
        if on_listening:
            on_listening(server.port)
        with _provided(runtime) as ready, _stoppable():
            server.attach(ready)
            if on_serving:
                on_serving(ready)
            _wait_for_signal()
            server.close()


@contextmanager
def _provided(runtime: Runtime | Callable[[], Runtime]) -> Iterator[Runtime]:
    if isinstance(runtime, Runtime):
        yield runtime
        return
    with runtime() as made:
        yield made


@contextmanager
def _stoppable() -> Iterator[None]:
    """SIGTERM ends the waiting as Ctrl-C does. Set after the runtime is there, for Ray sets handlers of its own."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _wait_for_signal() -> None:
    try:
        threading.Event().wait()
    except KeyboardInterrupt:
        return


def _listen(server: grpc.aio.Server, settings: ServerSettings) -> int:
    try:
        if settings.tls:
            return server.add_secure_port(settings.address, settings.tls.credentials())
        return server.add_insecure_port(settings.address)
    except RuntimeError:
        raise ConfigurationError(_why_not(settings)) from None


def _why_not(settings: ServerSettings) -> str:
    """gRPC says only that it failed; the system's own answer says why."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    try:
        with socket.socket(family) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((settings.host, settings.port))
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            return f"port {settings.port} on {settings.host} is in use; choose another with --grpc-port or end its user"
        return f"the server cannot listen on {settings.address} ({error.strerror}); choose another host or port"
    return f"the server cannot listen on {settings.address}; check that certificate and key belong together"
