"""Which services a server has, and what it asks of a caller: the plain ones, or those under a policy.

The one place that chooses between them. Without a policy neither guard nor mechanisms are imported.
"""

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import grpc

from hetero.server.servicer import Servicer
from hetero.server.settings import ServerSettings
from hetero.v1.inference_pb2_grpc import add_HeteroServiceServicer_to_server

if TYPE_CHECKING:
    from hetero.governance import Governance
    from hetero.server.encrypted_service import Encrypted

Context = grpc.aio.ServicerContext[Any, Any]
#: Adds a service of its own to a server.
Adder = Callable[[grpc.aio.Server], None]


@dataclass(frozen=True, slots=True)
class Services:
    """`identify` raises for a caller who is not known. `is_open`: the server describes itself and logs each call."""

    servicer: Servicer
    others: tuple[Adder, ...] = ()
    identify: Callable[[Context], None] | None = None
    is_open: bool = True

    def add_to(self, server: grpc.aio.Server) -> None:
        add_HeteroServiceServicer_to_server(self.servicer, server)
        for add in self.others:
            add(server)


def services_of(
    settings: ServerSettings,
    governance: "Governance | None",
    undo: ExitStack,
    encrypted: "Encrypted | None" = None,
) -> Services:
    """The services under `governance`, or the plain ones; `undo` gets what must end with the server.

    Raises ConfigurationError where a policy does not allow listening as the settings say.
    """
    if governance is None:
        return Services(Servicer(), (encrypted.adder(undo),) if encrypted else ())
    return _governed(settings, governance, undo, encrypted)


def _governed(
    settings: ServerSettings, governance: "Governance", undo: ExitStack, encrypted: "Encrypted | None"
) -> Services:
    from hetero.server.admin import AdminServicer
    from hetero.server.governed import GovernedServicer
    from hetero.server.governor import CALLER, Governor
    from hetero.server.identity import presented_in
    from hetero.server.listening import check_listening
    from hetero.server.quiet import redacted_tracebacks

    check_listening(settings, governance.policy)
    undo.enter_context(redacted_tracebacks())
    governor = Governor(governance)

    def identify(context: Context) -> None:
        CALLER.set(governance.identifier.identify(presented_in(context)))

    others = (AdminServicer(governor).add_to, *((encrypted.adder(undo, governor),) if encrypted else ()))
    return Services(GovernedServicer(governor), others, identify, is_open=False)
