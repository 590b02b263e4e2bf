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
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from types import FrameType, TracebackType
from typing import TYPE_CHECKING, Any, TypeVar

import grpc
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection

from hetero.errors import ConfigurationError, StageLostError
from hetero.runtime import Runtime
from hetero.served import Model, Served
from hetero.server.calls import Calls
from hetero.server.health import Health
from hetero.server.interceptors import SERVICE, EdgeInterceptor, TokenInterceptor
from hetero.server.services import services_of
from hetero.server.settings import ServerSettings
from hetero.server.tls import ServerTls

if TYPE_CHECKING:
    from hetero.governance import Governance
    from hetero.server.encrypted_service import Encrypted

#: How long the last statuses may take to leave.
_FLUSH_SECONDS = 0.2
#: How often to look whether the model still runs.
_WATCH_SECONDS = 1.0

T = TypeVar("T")


class Server:
    """Listens from its construction on, and answers NOT_SERVING until `attach`. Close it, or use it in a `with` block.

    With `governance` every method is under its policy; with `encrypted` models are applied to ciphertexts as well. Both
    stay the caller's to close, after this server. Raises ConfigurationError where the address cannot be listened on, a
    certificate not be used, or the policy does not allow to listen so.
    """

    def __init__(
        self,
        settings: ServerSettings,
        governance: "Governance | None" = None,
        encrypted: "Encrypted | None" = None,
    ) -> None:
        self.settings = settings
        self._closed = False
        self._undo = ExitStack()
        self._services = services_of(settings, governance, self._undo, encrypted)
        self._servicer = self._services.servicer
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="grpc-server", daemon=True)
        self._thread.start()
        try:
            self.port = self._call(self._start())
        except BaseException:
            self._end_loop()
            raise

    def attach(self, model: Model | Served) -> Served:
        """Serve a runtime, or one with a name and heads; it stays the caller's to close, after this server."""
        served = model if isinstance(model, Served) else Served(model)
        self._servicer.attach(served)
        self._call(self._begin_serving(served))
        return served

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The loop that serves, for measuring how long it stalls."""
        return self._loop

    def close(self, drain_seconds: float | None = None) -> None:
        """Refuse new calls, let those in progress end for a while, cancel the rest; a second call does nothing.

        A signal meanwhile (KeyboardInterrupt) ends the waiting for them, and is raised once they are cancelled.
        """
        if self._closed:
            return
        self._closed = True
        self._servicer.detach()
        try:
            self._call(self._stop(self.settings.drain_seconds if drain_seconds is None else drain_seconds))
        except KeyboardInterrupt:
            self._call(self._server.stop(_FLUSH_SECONDS))
            raise
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
        self._calls = Calls(self._services.is_open)
        guards = [TokenInterceptor(settings.token)] if settings.token else []
        self._server = grpc.aio.server(
            interceptors=[*guards, EdgeInterceptor(self._calls, self._notice, self._services.identify)],
            options=settings.channel_options(),
            maximum_concurrent_rpcs=settings.max_concurrent,
        )
        self._services.add_to(self._server)
        self._health = Health()
        self._health.add_to(self._server)
        await self._health.set_serving(False)
        if self._services.is_open:
            services = (SERVICE, health_pb2.DESCRIPTOR.services_by_name["Health"].full_name, reflection.SERVICE_NAME)
            reflection.enable_server_reflection(services, self._server)
        port = listen(self._server, settings)
        await self._server.start()
        return port

    async def _notice(self, error: Exception) -> None:
        """A stage that died ends the service: balancers shall look elsewhere."""
        if isinstance(error, StageLostError):
            await self._health.set_serving(False)

    async def _begin_serving(self, served: Served) -> None:
        await self._health.set_serving(True)
        self._watching = asyncio.ensure_future(self._watch(served))

    async def _watch(self, served: Served) -> None:
        """Notice also what no call runs into: a balancer would send the next one here."""
        while served.model.stats().failure is None:
            await asyncio.sleep(_WATCH_SECONDS)
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
        self._undo.close()


async def _cancel_tasks() -> None:
    """End what is left on this loop, so that nothing is torn off in the middle."""
    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await asyncio.get_running_loop().shutdown_default_executor()


def serve(
    model: Runtime | Callable[[], AbstractContextManager[Model | Served]],
    host: str = "127.0.0.1",
    port: int = 50051,
    *,
    tls: ServerTls | None = None,
    token: str | None = None,
    settings: ServerSettings | None = None,
    governance: "Governance | None" = None,
    encrypted: "Encrypted | None" = None,
    on_listening: Callable[[int], None] | None = None,
    on_serving: Callable[[Served], None] | None = None,
) -> None:
    """Serve until SIGINT or SIGTERM, then drain. `settings`, where given, stand for all values of how to listen.

    A runtime that is given stays open; what is made here, after the port is known to be free, is closed.
    Raises ConfigurationError where the port or a certificate cannot be used, and what making the model raises.
    """
    chosen = settings or ServerSettings(host=host, port=port, tls=tls, token=token)
    with Server(chosen, governance, encrypted) as server:
        if on_listening:
            on_listening(server.port)
        with _provided(model) as ready, _stoppable():
            served = server.attach(ready)
            if on_serving:
                on_serving(served)
            _wait_for_signal()
            server.close()


def _provided(
    model: Runtime | Callable[[], AbstractContextManager[Model | Served]],
) -> AbstractContextManager[Model | Served]:
    return nullcontext(model) if isinstance(model, Runtime) else model()


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


def listen(server: grpc.aio.Server, settings: ServerSettings) -> int:
    """Open the port that the settings say, and give its number. Raises ConfigurationError where that cannot be."""
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
