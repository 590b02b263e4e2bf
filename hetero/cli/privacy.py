"""`hetero privacy`: check a policy, explain what it says to a request, verify what the server signed, make keys.

Knows flags and what is printed; policies are `privacy`'s, which is imported when a command needs it.
"""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hetero.cli import options
from hetero.cli.output import note, out, print_json, table
from hetero.cli.privacy_explain import explain
from hetero.cli.privacy_keys import app as keys
from hetero.cli.privacy_verify import audit, receipt

if TYPE_CHECKING:
    from privacy.policy.types import Policy, Rule

app = typer.Typer(help="Privacy policies: who may learn what, and how much is left to spend.", no_args_is_help=True)
app.command()(explain)
app.add_typer(audit, name="audit")
app.add_typer(receipt, name="receipt")
app.add_typer(keys, name="keys")

PolicyFile = Annotated[Path, typer.Argument(help="A policy, YAML.", metavar="FILE", show_default=False)]


@app.command()
def check(file: PolicyFile, as_json: options.Json = False) -> None:
    """Say everything that is wrong with a policy, by line, and what deserves a second look. Exit code 2 if refused."""
    from privacy.policy.loading import examine, read_policy_file

    found = examine(read_policy_file(file), file.resolve().parent)
    warnings = _all_warnings(found.policy) if found.policy else ()
    if as_json:
        revision = found.policy.revision if found.policy else None
        print_json(
            {
                "valid": found.policy is not None,
                "revision": revision,
                "complaints": list(found.complaints),
                "warnings": list(warnings),
            }
        )
    else:
        _show(file, found.policy, found.complaints, warnings)
    if found.policy is None:
        raise typer.Exit(2)


@app.command()
def init(file: PolicyFile, as_json: options.Json = False) -> None:
    """Begin a policy's state: signing key, audit log and ledger, its budgets untouched. Never where there is one."""
    from privacy.guard_opening import begin_state
    from privacy.policy.loading import load_policy

    policy = load_policy(file)
    begin_state(policy)
    if as_json:
        print_json({"state": str(policy.state.directory), "public_key": str(policy.state.public_key_file)})
        return
    out().print(f"begun {policy.state.directory}; its budgets are untouched", markup=False)


@app.command()
def schema() -> None:
    """Print the JSON schema of policies, for editors."""
    from privacy.policy.schema import json_schema

    print(json.dumps(json_schema(), indent=2))


def _all_warnings(policy: "Policy") -> tuple[str, ...]:
    return (*policy.warnings, *_unserved(policy), *_absent_files(policy))


def _unserved(policy: "Policy") -> tuple[str, ...]:
    """Rules under which `hetero serve` starts with more than the policy alone."""
    from hetero.governance import document_rules

    return tuple(
        f"rule {rule.name!r}: the server does not start with it for its model unless --documents names their folder"
        for rule in document_rules(policy)
    )


def _absent_files(policy: "Policy") -> tuple[str, ...]:
    files = [issuer.jwks_file for issuer in policy.identity.jwt]
    files += [policy.identity.api_keys_file] if policy.identity.api_keys_file else []
    return tuple(
        f"the file {str(file)!r} is not there; the server will not start" for file in files if not file.exists()
    )


def _show(file: Path, policy: "Policy | None", complaints: tuple[str, ...], warnings: tuple[str, ...]) -> None:
    for complaint in complaints:
        note().print(f"{file.name}, {complaint}", markup=False, soft_wrap=True)
    for warning in warnings:
        note().print(f"warning: {warning}", markup=False, soft_wrap=True)
    if policy is None:
        note().print(f"{file.name} is refused: {len(complaints)} complaints", markup=False)
        return
    out().print(_rules_table(policy))
    out().print(f"\n{policy.name} can be used; revision {policy.revision}", markup=False, soft_wrap=True)


def _rules_table(policy: "Policy") -> object:
    made = table("rule", "effect", "tenants", "models", "methods", "protection", ">epsilon", ">delta", "lifetime")
    for rule in policy.rules:
        made.add_row(*_row(rule))
    return made


def _row(rule: "Rule") -> tuple[str, ...]:
    scopes = (rule.tenants, rule.models, rule.methods)
    words = ["any" if scope is None else ", ".join(sorted(scope)) for scope in scopes]
    permits, guarantee = rule.effect.value == "permit", rule.guarantee
    numbers = (f"{guarantee.epsilon:g}", f"{guarantee.delta:g}", guarantee.lifetime) if guarantee else ("", "", "")
    return (rule.name, rule.effect.value, *words, rule.protection.value if permits else "", *numbers)
