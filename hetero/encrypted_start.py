"""From specs and settings to a running server of encrypted models: gateway, policy, measured times, server, end.

Knows the order alone.
"""

import signal
import threading
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from pathlib import Path

from hetero.server.encrypted_server import EncryptedServer
from hetero.server.encrypted_service import Encrypted
from hetero.server.settings import ServerSettings
from privacy.he.gateway import Gateway, GatewaySettings
from privacy.he.measuring import measured_seconds
from privacy.he.spec import ModelSpec


def serve_encrypted(
    specs: Sequence[ModelSpec],
    listening: ServerSettings,
    bounds: GatewaySettings,
    policy: Path | None = None,
    on_serving: Callable[[str, Gateway], None] = lambda address, gateway: None,
) -> None:
    """Serve until SIGINT or SIGTERM. Raises ConfigurationError, EncryptionError or PolicyError before it listens."""
    from hetero.governance import open_governance

    with ExitStack() as stack:
        governance = stack.enter_context(open_governance(policy)) if policy else None
        gateway = stack.enter_context(closing(Gateway(specs, bounds)))
        seconds = measured_seconds(gateway.pool, specs)
        server = stack.enter_context(EncryptedServer(listening, Encrypted(gateway, seconds), governance))
        on_serving(f"{listening.host}:{server.port}", gateway)
        _wait_for_signal()


def _wait_for_signal() -> None:
    stop = threading.Event()
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.signal(number, lambda *_: stop.set()) for number in numbers}
    try:
        stop.wait()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
