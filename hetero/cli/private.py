"""`hetero private`: classify and search with a server that sees ciphertexts only, and serve such models.

The encoder runs here, on this machine's devices; keys are made here and end with the command.
"""

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hetero.cli import options
from hetero.cli.encode import Texts, read_texts
from hetero.cli.output import note, only_results_on_stdout, out, print_json, table
from hetero.cli.private_serve import serve
from hetero.cli.running import check_encoder, read_settings, running
from hetero.errors import InvalidRequestError

if TYPE_CHECKING:
    from hetero.batch import FloatArray
    from hetero.client_encrypted import EncryptedClient, EncryptedModel
    from hetero.runtime import Runtime
    from hetero.server.tls import ClientTls

app = typer.Typer(help="Classify and search under encryption: the server never sees a text.", no_args_is_help=True)
app.command()(serve)

Server = Annotated[str, typer.Option("--server", help="HOST:PORT of the encrypted models.", show_default=False)]
Name = Annotated[str, typer.Option("--name", help="Which of the server's models; without: the only one.")]
Top = Annotated[int, typer.Option("--top", min=1, help="How many documents to show.")]
Titles = Annotated[Path, typer.Argument(help="A text file: one document a line.", metavar="FILE", show_default=False)]
Output = Annotated[Path, typer.Option("--output", help="Where to write the index, a .safetensors file.")]
Tls = Annotated[bool, typer.Option("--tls", help="Connect over TLS.")]
Ca = Annotated[Path | None, typer.Option("--tls-ca", help="The CA of the server's certificate, PEM.")]
Certificate = Annotated[Path | None, typer.Option("--tls-cert", help="The certificate to show, PEM.")]
Key = Annotated[Path | None, typer.Option("--tls-key", help="The key of that certificate, PEM.")]


@app.command()
def classify(
    model: options.Model,
    server: Server,
    text: Texts = None,
    name: Name = "",
    plan: options.Plan = None,
    precision: options.Precision = None,
    tls: Tls = False,
    tls_ca: Ca = None,
    tls_cert: Certificate = None,
    tls_key: Key = None,
    address: options.Address = None,
    config: options.Config = None,
    as_json: options.Json = False,
) -> None:
    """Say which class each text is of. MODEL is the encoder, which runs here. HETERO_GRPC_TOKEN: the server's token."""
    from hetero.private import PrivateClassifier

    texts = read_texts(text)
    flags = {"plan": plan, "precision": precision, "address": address}
    with _both(model, server, name, "classify", _tls(tls, tls_ca, tls_cert, tls_key), flags, config, as_json) as parts:
        remote, runtime = parts
        scored = PrivateClassifier(remote, runtime.embed)(texts)
        documents = [dict(zip(scores.labels, scores.probabilities, strict=True)) for scores in scored]
        if as_json:
            print_json({"classes": documents, "sent": _sent(remote), "statement": remote.description.statement})
            return
        made = table("text", "class", ">probability")
        for line, scores in zip(texts, scored, strict=True):
            made.add_row(line, scores.label, f"{max(scores.probabilities):.4f}")
        out().print(made)
        note().print(remote.description.statement, style="dim", markup=False)


@app.command()
def search(
    model: options.Model,
    server: Server,
    text: Texts = None,
    name: Name = "",
    top: Top = 5,
    plan: options.Plan = None,
    precision: options.Precision = None,
    tls: Tls = False,
    tls_ca: Ca = None,
    tls_cert: Certificate = None,
    tls_key: Key = None,
    address: options.Address = None,
    config: options.Config = None,
    as_json: options.Json = False,
) -> None:
    """Find the documents nearest to each text. MODEL is the encoder, which runs here."""
    from hetero.private import PrivateSearch

    texts = read_texts(text)
    flags = {"plan": plan, "precision": precision, "address": address}
    with _both(model, server, name, "search", _tls(tls, tls_ca, tls_cert, tls_key), flags, config, as_json) as parts:
        remote, runtime = parts
        found = PrivateSearch(remote, runtime.embed)(texts, top)
        if as_json:
            hits = [[{"index": hit.index, "title": hit.title, "score": hit.score} for hit in hits] for hits in found]
            print_json({"hits": hits, "sent": _sent(remote), "statement": remote.description.statement})
            return
        for line, nearest in zip(texts, found, strict=True):
            out().print(line, style="bold", markup=False)
            for hit in nearest:
                out().print(f"  {hit.score:.4f}  {hit.title}", markup=False)
        note().print(remote.description.statement, style="dim", markup=False)


@app.command()
def index(
    model: options.Model,
    file: Titles,
    output: Output,
    plan: options.Plan = None,
    precision: options.Precision = None,
    address: options.Address = None,
    config: options.Config = None,
    as_json: options.Json = False,
) -> None:
    """Turn documents into what `hetero private serve --documents` searches; every searcher gets their titles."""
    from hetero.encrypted_models import documents
    from privacy.he.files import save_spec

    try:
        titles = [line.strip() for line in file.read_text(encoding="utf-8").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError):
        raise InvalidRequestError(f"the file {str(file)!r} cannot be read as UTF-8 text") from None
    settings = read_settings(config, {"plan": plan, "precision": precision, "address": address})
    check_encoder(model, classifies=False)
    with only_results_on_stdout() if as_json else nullcontext():
        with running(model, settings) as runtime:
            save_spec(output, documents(output.stem, titles, _embedded(runtime, titles), encoder=model))
        if as_json:
            print_json({"file": str(output), "documents": len(titles)})
        else:
            out().print(f"{len(titles)} documents in {output}", markup=False)


@app.command()
def models(
    server: Server,
    tls: Tls = False,
    tls_ca: Ca = None,
    tls_cert: Certificate = None,
    tls_key: Key = None,
    as_json: options.Json = False,
) -> None:
    """List what a server offers encrypted, and what is protected from whom."""
    with _connected(server, _tls(tls, tls_ca, tls_cert, tls_key)) as client:
        found = client.models()
    if as_json:
        print_json([{"name": each.name, "kind": each.kind.value, "parameters": each.parameter_name,
                     "columns": each.taken.columns, "rows": each.given.rows, "norm_bound": each.norm_bound,
                     "queries_per_epoch": each.queries_per_epoch, "epoch_seconds": each.epoch_seconds,
                     "statement": each.statement} for each in found])  # fmt: skip
        return
    made = table("name", "kind", "parameters", ">takes", ">gives", ">queries an epoch")
    for each in found:
        cap = str(each.queries_per_epoch or "no cap")
        made.add_row(
            each.name, each.kind.value, each.parameter_name, str(each.taken.columns), str(each.given.rows), cap
        )
    out().print(made)
    for each in found:
        out().print(f"\n{each.name}: {each.statement}", markup=False)


@contextmanager
def _both(
    model: str,
    server: str,
    name: str,
    kind: str,
    tls: "ClientTls | None",
    flags: dict[str, str | None],
    config: Path | None,
    as_json: bool,
) -> "Iterator[tuple[EncryptedModel, Runtime]]":
    """The server's model and the encoder here; the server first, for it fails faster."""
    from privacy.he.spec import Kind

    settings = read_settings(config, flags)
    with ExitStack() as stack:
        stack.enter_context(only_results_on_stdout() if as_json else nullcontext())
        client = stack.enter_context(_connected(server, tls))
        remote = client.model(name, Kind(kind))
        yield remote, stack.enter_context(running(model, settings))


@contextmanager
def _connected(server: str, tls: "ClientTls | None") -> "Iterator[EncryptedClient]":
    from hetero.private import connect_private

    with connect_private(server, tls=tls, token=os.environ.get("HETERO_GRPC_TOKEN")) as client:
        yield client


def _tls(tls: bool, ca: Path | None, certificate: Path | None, key: Path | None) -> "ClientTls | None":
    from hetero.server.tls import ClientTls

    return ClientTls(ca, certificate, key) if tls or ca or certificate else None


def _embedded(runtime: "Runtime", texts: list[str], at_once: int = 512) -> "FloatArray":
    import numpy as np

    return np.vstack([runtime.embed(texts[at : at + at_once]) for at in range(0, len(texts), at_once)])


def _sent(remote: "EncryptedModel") -> dict[str, object]:
    return {"keys_bytes": remote.prepare().size_bytes, "parameters": remote.description.parameter_name}
