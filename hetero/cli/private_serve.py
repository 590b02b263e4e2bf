"""`hetero private serve`: encrypted models behind gRPC until SIGTERM or Ctrl-C. Knows flags."""

from contextlib import ExitStack, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hetero.cli import options
from hetero.cli.output import note, only_results_on_stdout, out, print_json
from hetero.cli.running import read_settings
from hetero.cli.serve import Host, Mutual, Port, RootCert, ServerCert, ServerKey, UseSsl, server_tls
from hetero.errors import InvalidRequestError

if TYPE_CHECKING:
    from privacy.he.gateway import Gateway
    from privacy.he.spec import ModelSpec

Heads = Annotated[
    list[Path] | None, typer.Option("--head", help="A head's .safetensors file, or a folder of `hetero train-head`.")
]
Documents = Annotated[list[Path] | None, typer.Option("--documents", help="An index of `hetero private index`.")]
Layers = Annotated[
    list[str] | None,
    typer.Option("--layer", help="A linear layer of a checkpoint: FOLDER:NAME, e.g. minilm:pooler.dense."),
]
Workers = Annotated[int, typer.Option("--workers", min=1, help="Processes that compute; each uses one core.")]
Memory = Annotated[int, typer.Option("--worker-memory-mb", min=256, help="Address space of each worker.")]
JobSeconds = Annotated[float, typer.Option("--job-seconds", min=0.1, help="A ciphertext that takes longer is dropped.")]
Queries = Annotated[
    int | None,
    typer.Option("--queries", min=0, help="Vectors of a tenant to a model in an epoch; 0: no cap, weights unprotected.",
                 show_default="one fewer than the layer has columns"),
]  # fmt: skip
Epoch = Annotated[float, typer.Option("--epoch-seconds", min=1, help="How long an epoch is.")]
Rate = Annotated[float, typer.Option("--rate", min=0, help="Ciphertexts a second of each tenant; 0: no limit.")]
State = Annotated[Path | None, typer.Option("--state", help="A folder that keeps keys and counts over restarts.")]
PolicyFile = Annotated[Path | None, typer.Option("--policy", help="Who may ask what; YAML.", metavar="FILE")]


def serve(
    head: Heads = None,
    documents: Documents = None,
    layer: Layers = None,
    workers: Workers = 1,
    worker_memory_mb: Memory = 2048,
    job_seconds: JobSeconds = 30.0,
    queries: Queries = None,
    epoch_seconds: Epoch = 86400.0,
    rate: Rate = 50.0,
    state: State = None,
    policy: PolicyFile = None,
    grpc_host: Host = None,
    grpc_port: Port = None,
    grpc_use_ssl: UseSsl = None,
    grpc_use_ssl_mutual: Mutual = None,
    grpc_server_cert: ServerCert = None,
    grpc_server_key: ServerKey = None,
    grpc_root_cert: RootCert = None,
    config: options.Config = None,
    as_json: options.Json = False,
) -> None:
    """Serve heads, documents and layers to clients who send ciphertexts only. HETERO_GRPC_TOKEN: the clients' token."""
    flags = {name: value for name, value in locals().items() if name.startswith("grpc_")}
    settings = read_settings(config, flags)
    from hetero.encrypted_start import serve_encrypted
    from hetero.server.settings import ServerSettings
    from privacy.he.gateway import GatewaySettings
    from privacy.he.limits import Limits

    listening = ServerSettings(
        host=settings.grpc_host,
        port=settings.grpc_port,
        tls=server_tls(settings),
        token=settings.grpc_token.get_secret_value() if settings.grpc_token else None,
        drain_seconds=settings.grpc_drain_seconds,
    )
    bounds = GatewaySettings(
        workers=workers,
        limits=Limits(memory_bytes=worker_memory_mb * 2**20, job_seconds=job_seconds),
        queries_per_epoch=queries,
        epoch_seconds=epoch_seconds,
        ciphertexts_per_second=rate,
        folder=state,
    )
    with ExitStack() as stack:
        stack.enter_context(only_results_on_stdout() if as_json else nullcontext())
        specs = _specs(head, documents, layer)
        serve_encrypted(specs, listening, bounds, policy, lambda port, gateway: _announce(port, gateway, as_json))


def _specs(heads: list[Path] | None, documents: list[Path] | None, layers: list[str] | None) -> "list[ModelSpec]":
    from hetero.encrypted_models import layer_of_checkpoint, read_encrypted
    from hetero.models.source import resolve

    specs = [read_encrypted(path) for path in [*(heads or ()), *(documents or ())]]
    for text in layers or ():
        folder, colon, name = text.rpartition(":")
        if not colon or not folder or not name:
            raise InvalidRequestError(f"--layer takes FOLDER:NAME, for example minilm:pooler.dense, not {text!r}")
        specs.append(layer_of_checkpoint(resolve(folder), name))
    if not specs:
        raise InvalidRequestError("there is nothing to serve; give --head, --documents or --layer")
    return specs


def _announce(address: str, gateway: "Gateway", as_json: bool) -> None:
    models = [{"name": each.name, "kind": each.kind.value, "parameters": each.parameter_name} for each in
              gateway.models.values()]  # fmt: skip
    if as_json:
        print_json({"address": address, "models": models, "workers": list(gateway.pool.pids)})
        return
    for each in gateway.models.values():
        note().print(f"{each.name}: {each.statement}", style="dim", markup=False)
    names = ", ".join(f"{each['name']} ({each['kind']})" for each in models)
    out().print(f"serving {names} on {address}; Ctrl-C ends it", markup=False)
    out().file.flush()
