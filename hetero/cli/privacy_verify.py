"""`hetero privacy audit verify` and `hetero privacy receipt verify`: whether what the server signed still holds."""

import base64
import binascii
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hetero.cli import options
from hetero.cli.output import out, print_json, table
from hetero.cli.privacy_keys import PolicyFile, tell_rotation
from hetero.errors import ConfigurationError

if TYPE_CHECKING:
    from privacy.audit.verify import Verdict

audit = typer.Typer(help="The audit log: every decision and charge, chained and signed.", no_args_is_help=True)
receipt = typer.Typer(help="Receipts: what one answer was given under, signed.", no_args_is_help=True)

PublicKey = Annotated[
    Path | None, typer.Option("--public-key", help="The server's, PEM; else signing.pub beside FILE.", metavar="PEM")
]
KnownHead = Annotated[
    str, typer.Option("--known-head", help="The digest of a head that you kept, as receipts name it.")
]
LogFile = Annotated[Path, typer.Argument(help="The audit log.", metavar="FILE", show_default=False)]
ReceiptFile = Annotated[Path, typer.Argument(help="A receipt's bytes, or their base64.", metavar="FILE")]


@audit.callback()
def _audit() -> None:
    """Commands on the audit log."""


@receipt.callback()
def _receipt() -> None:
    """Commands on receipts."""


@audit.command("verify")
def verify_log(
    file: LogFile, public_key: PublicKey = None, known_head: KnownHead = "", as_json: options.Json = False
) -> None:
    """Find any edit, drop, reorder or truncation of the log. Exit code 1 where it does not hold."""
    from privacy.audit.signing import load_public_key
    from privacy.audit.verify import verify

    verdict = verify(file, load_public_key(public_key or file.with_name("signing.pub")), known_head)
    if as_json:
        print_json(asdict(verdict))
    else:
        _show(verdict)
    if not verdict.ok:
        raise typer.Exit(1)


@audit.command("rotate")
def rotate_log(file: PolicyFile, as_json: options.Json = False) -> None:
    """Begin a new segment of the log, which carries what was spent; no server may run. A start reads that one alone."""
    tell_rotation(file, new_key=False, as_json=as_json)


def _show(verdict: "Verdict") -> None:
    if not verdict.ok:
        out().print(f"the log does not hold: {verdict.problem}", markup=False, soft_wrap=True)
        return
    several = f" in {verdict.segments} segments" if verdict.segments > 1 else ""
    out().print(
        f"the log holds: {verdict.records} records{several}; head {verdict.head_digest}", markup=False, soft_wrap=True
    )
    if verdict.spent_rho:
        made = table("account and window", ">spent")
        for account, rho in sorted(verdict.spent_rho.items()):
            made.add_row(account, f"{rho:.6g}")
        out().print(made)


@receipt.command("verify")
def verify_one(file: ReceiptFile, public_key: PublicKey = None, as_json: options.Json = False) -> None:
    """Check a receipt's signature and print what it says. Exit code 2 where it does not hold."""
    from privacy.audit.receipts import verify_receipt
    from privacy.audit.signing import load_public_key
    from privacy.policy.explain import guarantee_sentence

    found = verify_receipt(_receipt_bytes(file), load_public_key(public_key or file.with_name("signing.pub")))
    document = asdict(found)
    del document["signature"]
    if as_json:
        print_json(document)
        return
    if found.guarantee is not None:
        document["guarantee"] = guarantee_sentence(found.guarantee)
    for name, value in document.items():
        out().print(f"{name.replace('_', ' ')}: {value}", markup=False, soft_wrap=True)


def _receipt_bytes(file: Path) -> bytes:
    try:
        data = file.read_bytes()
    except OSError as error:
        raise ConfigurationError(f"the receipt {str(file)!r} cannot be read: {error.strerror}") from None
    with suppress(binascii.Error, ValueError):
        return base64.b64decode(b"".join(data.split()), validate=True)
    return data
