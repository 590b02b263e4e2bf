"""`hetero serve`: a model behind gRPC until SIGTERM or Ctrl-C. Knows flags; the server is `hetero.server`'s."""

from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hetero.cli import options
from hetero.cli.describe import plan_document, plan_line
from hetero.cli.output import only_results_on_stdout, out, print_json
from hetero.cli.running import read_settings, start
from hetero.config import Settings
from hetero.errors import ConfigurationError

if TYPE_CHECKING:
    from hetero.runtime import Runtime
    from hetero.server.tls import ServerTls

Port = Annotated[int | None, typer.Option("--grpc-port", help="0 takes a free one.", show_default="50051")]
Host = Annotated[str | None, typer.Option("--grpc-host", help="Where to listen.", show_default="127.0.0.1")]
UseSsl = Annotated[bool | None, typer.Option("--grpc-use-ssl", help="Serve over TLS.")]
Mutual = Annotated[bool | None, typer.Option("--grpc-use-ssl-mutual", help="Ask clients for a certificate, too.")]
ServerCert = Annotated[Path | None, typer.Option("--grpc-server-cert", help="The server's certificate, PEM.")]
ServerKey = Annotated[Path | None, typer.Option("--grpc-server-key", help="The server's key, PEM.")]
RootCert = Annotated[Path | None, typer.Option("--grpc-root-cert", help="The CA of the clients' certificates, PEM.")]


def serve(
    model: options.Model,
    plan: options.Plan = None,
    precision: options.Precision = None,
    context: options.Context = None,
    max_sequences: options.MaxSequences = None,
    grpc_host: Host = None,
    grpc_port: Port = None,
    grpc_use_ssl: UseSsl = None,
    grpc_use_ssl_mutual: Mutual = None,
    grpc_server_cert: ServerCert = None,
    grpc_server_key: ServerKey = None,
    grpc_root_cert: RootCert = None,
    address: options.Address = None,
    config: options.Config = None,
    as_json: options.Json = False,
) -> None:
    """Serve a model over gRPC. HETERO_GRPC_TOKEN, where set, is the token that clients must send."""
    flags = {name: value for name, value in locals().items() if name not in {"model", "config", "as_json"}}
    settings = read_settings(config, flags)
    from hetero.server.server import serve as serve_until_signal
    from hetero.server.settings import ServerSettings

    listening = ServerSettings(
        host=settings.grpc_host,
        port=settings.grpc_port,
        tls=server_tls(settings),
        token=settings.grpc_token.get_secret_value() if settings.grpc_token else None,
        drain_seconds=settings.grpc_drain_seconds,
    )
    ports: list[int] = []
    with only_results_on_stdout() if as_json else nullcontext():
        serve_until_signal(
            lambda: start(model, settings),
            settings=listening,
            on_listening=ports.append,
            on_serving=lambda runtime: _announce(f"{settings.grpc_host}:{ports[0]}", runtime, as_json),
        )


def server_tls(settings: Settings) -> "ServerTls | None":
    """What the TLS settings come to, None without TLS. Raises ConfigurationError where a file is not named."""
    from hetero.server.tls import ServerTls

    if not (settings.grpc_use_ssl or settings.grpc_use_ssl_mutual):
        return None
    if settings.grpc_server_cert is None or settings.grpc_server_key is None:
        raise ConfigurationError("TLS needs a certificate and a key: give --grpc-server-cert and --grpc-server-key")
    if settings.grpc_use_ssl_mutual and settings.grpc_root_cert is None:
        raise ConfigurationError("mutual TLS needs the clients' CA: give --grpc-root-cert")
    authority = settings.grpc_root_cert if settings.grpc_use_ssl_mutual else None
    return ServerTls(settings.grpc_server_cert, settings.grpc_server_key, authority)


def _announce(address: str, runtime: "Runtime", as_json: bool) -> None:
    if as_json:
        print_json({"address": address, "model": runtime.model, "plan": plan_document(runtime.plan)})
        return
    out().print(f"{runtime.model} on {plan_line(runtime.plan)}", markup=False)
    out().print(f"serving gRPC on {address}; Ctrl-C ends it", markup=False)
    out().file.flush()
