"""`hetero serve`: a model behind gRPC until SIGTERM or Ctrl-C. Knows flags; the server is `hetero.server`'s."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hetero.cli import options
from hetero.cli.describe import encrypted_document, plan_document, plan_line
from hetero.cli.output import note, only_results_on_stdout, out, print_json
from hetero.cli.running import read_settings, running
from hetero.config import Settings
from hetero.errors import ConfigurationError
from placement.plans import format_encrypted

if TYPE_CHECKING:
    from hetero.document_answers import DocumentAnswers
    from hetero.encrypted_stages import EncryptedStages
    from hetero.governance import Governance
    from hetero.served import Served
    from hetero.server.tls import ServerTls
    from placement.types import EncryptedStage

Port = Annotated[int | None, typer.Option("--grpc-port", help="0 takes a free one.", show_default="50051")]
Host = Annotated[str | None, typer.Option("--grpc-host", help="Where to listen.", show_default="127.0.0.1")]
UseSsl = Annotated[bool | None, typer.Option("--grpc-use-ssl", help="Serve over TLS.")]
Mutual = Annotated[bool | None, typer.Option("--grpc-use-ssl-mutual", help="Ask clients for a certificate, too.")]
ServerCert = Annotated[Path | None, typer.Option("--grpc-server-cert", help="The server's certificate, PEM.")]
ServerKey = Annotated[Path | None, typer.Option("--grpc-server-key", help="The server's key, PEM.")]
RootCert = Annotated[Path | None, typer.Option("--grpc-root-cert", help="The CA of the clients' certificates, PEM.")]

ServedName = Annotated[str | None, typer.Option("--served-name", help="The name in policies; else MODEL as given.")]


def serve(
    model: options.Model,
    plan: options.Plan = None,
    precision: options.Precision = None,
    context: options.Context = None,
    exits: options.Exits = None,
    draft_depth: options.DraftDepth = None,
    max_sequences: options.MaxSequences = None,
    grpc_host: Host = None,
    grpc_port: Port = None,
    grpc_use_ssl: UseSsl = None,
    grpc_use_ssl_mutual: Mutual = None,
    grpc_server_cert: ServerCert = None,
    grpc_server_key: ServerKey = None,
    grpc_root_cert: RootCert = None,
    policy: options.Policy = None,
    served_name: ServedName = None,
    heads: options.Heads = None,
    encrypted: options.Encrypted = None,
    documents: options.Documents = None,
    address: options.Address = None,
    config: options.Config = None,
    as_json: options.Json = False,
) -> None:
    """Serve a model over gRPC. HETERO_GRPC_TOKEN, where set, is the token that clients must send.

    With --policy what the file does not permit is denied, and clients show the credentials that it names; heads and
    layers that it wants on ciphertexts are served by the encrypted service as well; questions about --documents are
    answered by the rules that name the mechanism private-documents.
    """
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
    with ExitStack() as stack:
        stack.enter_context(only_results_on_stdout() if as_json else nullcontext())
        governance = stack.enter_context(_governance(settings.policy)) if settings.policy else None
        if governance:
            governance.require_model(settings.served_name or model, settings.documents is not None)
        elif settings.documents:
            raise ConfigurationError("--documents needs a --policy: it says who may learn what of them")
        marked = stack.enter_context(_encrypted(model, settings, governance))
        serve_until_signal(
            lambda: _served(model, settings, governance, marked.stages if marked else ()),
            settings=listening,
            governance=governance,
            encrypted=marked.service if marked else None,
            on_listening=ports.append,
            on_serving=lambda served: _announce(f"{settings.grpc_host}:{ports[0]}", served, as_json),
        )


@contextmanager
def _governance(file: Path) -> "Iterator[Governance]":
    """The policy in force, and on stderr what of it deserves a second look."""
    from hetero.governance import open_governance

    with open_governance(file) as governance:
        for warning in governance.policy.warnings:
            note().print(f"policy {governance.policy.name}: {warning}", markup=False, soft_wrap=True)
        yield governance


@contextmanager
def _encrypted(model: str, settings: Settings, governance: "Governance | None") -> "Iterator[EncryptedStages | None]":
    """The layers that the policy wants on ciphertexts, running; None where there are none."""
    if governance is None:
        if settings.encrypted:
            raise ConfigurationError("--encrypted needs a --policy; without one, use `hetero private serve`")
        yield None
        return
    from hetero.encrypted_stages import serve_marked

    with serve_marked(model, settings, governance) as marked:
        yield marked


@contextmanager
def _served(
    model: str, settings: Settings, governance: "Governance | None", encrypted: "tuple[EncryptedStage, ...]"
) -> "Iterator[Served]":
    """The model running, with its heads; not running where the policy lets no text reach it."""
    from hetero.served import Served, VectorsOnly, load_heads

    name = settings.served_name or model
    heads = load_heads(settings.heads, model)
    with _answering(model, name, settings, governance) as documents:
        if governance is not None and not governance.sees_texts(name):
            yield Served(VectorsOnly(model), name, heads, encrypted, documents)
            return
        with running(model, settings, governance.confinement(name) if governance else None) as runtime:
            yield Served(runtime, name, heads, encrypted, documents)


@contextmanager
def _answering(
    model: str, name: str, settings: Settings, governance: "Governance | None"
) -> "Iterator[DocumentAnswers | None]":
    """What answers from the folder of documents; None where there is none."""
    if governance is None or settings.documents is None:
        yield None
        return
    from hetero.automatic import asked_objective
    from hetero.document_answers import answering, mechanisms_of
    from hetero.governance import document_rules

    mechanisms = mechanisms_of(rule.mechanism for rule in document_rules(governance.policy, name))
    plan = None if asked_objective(settings.plan) else settings.plan
    confinement = governance.confinement(name)
    with answering(
        model, settings.documents, mechanisms, plan=plan, context=settings.context, confinement=confinement
    ) as answers:
        yield answers


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


def _announce(address: str, served: "Served", as_json: bool) -> None:
    plan = served.plan
    if as_json:
        said: dict[str, object] = {"address": address, "model": served.name, "plan": plan_document(plan)}
        if plan.encrypted:
            said["encrypted"] = [encrypted_document(stage) for stage in plan.encrypted]
        if answers := served.documents:
            said["documents"] = {"count": answers.document_count, "plan": plan_document(answers.plan)}
        print_json(said)
        return
    if plan.stages or not served.documents:
        text = f"{served.name} on {plan_line(plan)}" if plan.stages else f"{served.name}: {plan.reason}"
        out().print(text, markup=False)
    if served.documents:
        about = f"{served.name} about {served.documents.document_count} documents"
        out().print(f"{about} on {plan_line(served.documents.plan)}", markup=False)
    for stage in plan.encrypted:
        out().print(f"{stage.layer} on ciphertexts: {format_encrypted(stage)}", markup=False)
    out().print(f"serving gRPC on {address}; Ctrl-C ends it", markup=False)
    out().file.flush()
