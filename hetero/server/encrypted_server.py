"""A server of encrypted models alone: no runtime, no Ray, no model; its clients run the encoder themselves.

Listens as `server.py` does, on a loop and a thread of its own. A server that has a model as well takes the same service
by `add_encrypted_service`.
"""

import asyncio
import threading
from collections.abc import Coroutine
from contextlib import ExitStack
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar

import grpc

from hetero.server.calls import Calls
from hetero.server.encrypted_service import Encrypted, add_encrypted_service
from hetero.server.governor import CALLER, Context, Governor
from hetero.server.health import Health
from hetero.server.identity import presented_in
from hetero.server.interceptors import EdgeInterceptor, TokenInterceptor
from hetero.server.listening import check_listening
from hetero.server.quiet import redacted_tracebacks
from hetero.server.server import listen
from hetero.server.settings import ServerSettings

if TYPE_CHECKING:
    from hetero.governance import Governance

_FLUSH_SECONDS = 0.2
T = TypeVar("T")


class EncryptedServer:
    """Serves from its construction until `close`. The gateway and `governance` stay the caller's to close, after it.

    Raises ConfigurationError where the address cannot be listened on, or a policy does not allow to listen so.
    """

    def __init__(
        self,
        settings: ServerSettings,
        encrypted: Encrypted,
        governance: "Governance | None" = None,
    ) -> None:
        self.settings = settings
        self._undo = ExitStack()
        self._governance = governance
        if governance is not None:
            check_listening(settings, governance.policy)
            self._undo.enter_context(redacted_tracebacks())
        self._closed = False
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="encrypted-server", daemon=True)
        self._thread.start()
        try:
            self.port = self._call(self._start(encrypted))
        except BaseException:
            self._end_loop()
            raise

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The loop that serves, for measuring how long it stalls."""
        return self._loop

    def close(self, drain_seconds: float | None = None) -> None:
        """Refuse new calls, let those in progress end for a while, cancel the rest; a second call does nothing."""
        if self._closed:
            return
        self._closed = True
        try:
            self._call(self._stop(self.settings.drain_seconds if drain_seconds is None else drain_seconds))
        finally:
            self._end_loop()

    def __enter__(self) -> "EncryptedServer":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    async def _start(self, encrypted: Encrypted) -> int:
        settings, governance = self.settings, self._governance
        self._calls = Calls(governance is None)
        guards = [TokenInterceptor(settings.token)] if settings.token else []
        edge = EdgeInterceptor(self._calls, _ignore, self._identify if governance else None)
        self._server = grpc.aio.server(
            interceptors=[*guards, edge],
            options=settings.channel_options(),
            maximum_concurrent_rpcs=settings.max_concurrent,
        )
        governor = Governor(governance) if governance else None
        add_encrypted_service(self._server, encrypted, self._undo, governor)
        self._health = Health()
        self._health.add_to(self._server)
        port = listen(self._server, settings)
        await self._server.start()
        await self._health.set_serving(True)
        return port

    def _identify(self, context: Context) -> None:
        assert self._governance is not None
        CALLER.set(self._governance.identifier.identify(presented_in(context)))

    async def _stop(self, drain_seconds: float) -> None:
        await self._health.set_serving(False)
        await self._calls.wait_idle(drain_seconds)
        await self._server.stop(_FLUSH_SECONDS)

    def _call(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    def _end_loop(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
        self._undo.close()


async def _ignore(error: Exception) -> None:
    """No error of one call ends this service: a lost worker is started again."""
