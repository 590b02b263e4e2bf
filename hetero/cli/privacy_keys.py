"""`hetero privacy keys`: the server's signing key, and API keys of tenants. A secret is printed once or not at all."""

from pathlib import Path
from typing import Annotated

import typer

from hetero.cli import options
from hetero.cli.output import note, out, print_json
from hetero.errors import ConfigurationError

app = typer.Typer(help="The server's signing key, and tenants' API keys.", no_args_is_help=True)

PolicyFile = Annotated[Path, typer.Argument(help="The policy whose keys they are, YAML.", metavar="FILE")]
Tenant = Annotated[str, typer.Option("--tenant", help="Whose key it is.")]
Subject = Annotated[str | None, typer.Option("--subject", help="Whose data the key's requests are about.")]


@app.command()
def create(file: PolicyFile, as_json: options.Json = False) -> None:
    """Make the Ed25519 key pair that signs the audit log and receipts, in the policy's state directory."""
    from privacy.audit.signing import create_signer
    from privacy.policy.loading import load_policy

    state = load_policy(file).state
    create_signer(state.signing_key_file, state.public_key_file)
    if as_json:
        print_json({"signing_key": str(state.signing_key_file), "public_key": str(state.public_key_file)})
        return
    out().print(f"made {state.signing_key_file}; give {state.public_key_file} to who verifies", markup=False)


@app.command()
def rotate(file: PolicyFile, as_json: options.Json = False) -> None:
    """Sign with a new key from now on; no server may run. The audit log hands over to it in a new segment."""
    tell_rotation(file, new_key=True, as_json=as_json)


def tell_rotation(file: Path, *, new_key: bool, as_json: bool) -> None:
    """Rotate the audit log of a policy's state, and say what is kept where."""
    from privacy.policy.loading import load_policy
    from privacy.rotation import rotate as begin_segment

    state = load_policy(file).state
    made = begin_segment(state, new_key=new_key)
    kept = {"kept_log": str(made.kept_file), "kept_public_key": str(made.kept_public_key_file)}
    if as_json:
        print_json({"segment": made.segment, **kept, "public_key": made.public_key.hex()})
        return
    out().print(f"{state.audit_file} is segment {made.segment} now; the one before is {made.kept_file}", markup=False)
    if new_key:
        note().print(
            f"give {state.public_key_file} to who verifies; {made.kept_public_key_file} verifies older receipts",
            markup=False,
        )


@app.command()
def show(file: PolicyFile, as_json: options.Json = False) -> None:
    """Print the public key, PEM, for who verifies receipts and the audit log."""
    from privacy.audit.signing import load_signer
    from privacy.policy.loading import load_policy

    key = load_signer(load_policy(file).state.signing_key_file).public_pem.decode()
    if as_json:
        print_json({"public_key": key})
    else:
        print(key, end="")


@app.command()
def issue(file: PolicyFile, tenant: Tenant, subject: Subject = None, as_json: options.Json = False) -> None:
    """Make an API key for a tenant: its hash goes into the policy's file of keys, the key itself is shown once."""
    from privacy.identity.keys import hash_of, make_key
    from privacy.policy.loading import load_policy

    policy = load_policy(file)
    if tenant not in policy.tenants:
        raise ConfigurationError(f"the policy has no tenant {tenant!r}; it has: {', '.join(sorted(policy.tenants))}")
    if policy.identity.api_keys_file is None:
        raise ConfigurationError("the policy names no `api_keys_file` under `identity`; add one to use API keys")
    if subject is not None and (not subject or subject.split() != [subject]):
        raise ConfigurationError("a subject must be one word, for a line of the keys' file ends with it")
    key = make_key()
    _append(policy.identity.api_keys_file, " ".join(filter(None, (hash_of(key), tenant, subject))))
    if as_json:
        print_json({"tenant": tenant, "subject": subject, "api_key": key})
        return
    out().print(key, markup=False)
    note().print("this key is shown once and kept nowhere; restart the server to make it known", markup=False)


def _append(file: Path, line: str) -> None:
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with file.open("a", encoding="utf-8") as keys:
            keys.write(f"{line}\n")
    except OSError as error:
        raise ConfigurationError(f"the keys' file {str(file)!r} cannot be written: {error.strerror}") from None
