"""`hetero privacy explain`: what a policy says to a request, why, what is guaranteed, and what is left to spend."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hetero.cli import options
from hetero.cli.output import out, print_json
from hetero.errors import ConfigurationError

if TYPE_CHECKING:
    from privacy.policy.explain import Remaining
    from privacy.policy.types import Policy
    from privacy.types import Ask, Decision

PolicyFile = Annotated[Path, typer.Argument(help="A policy, YAML.", metavar="FILE", show_default=False)]
Tenant = Annotated[str, typer.Option("--tenant", help="Who asks.")]
ModelName = Annotated[str, typer.Option("--model", help="The model that is asked.")]
MethodName = Annotated[str | None, typer.Option("--method", help="One method; else every one, in turn.")]
Subject = Annotated[str | None, typer.Option("--subject", help="Whose data it is about; else the tenant's own.")]
Arrives = Annotated[
    str | None,
    typer.Option("--arrives", help="How it comes: none, local-dp or encrypted; else as it would be permitted."),
]
Count = Annotated[int, typer.Option("--count", min=1, help="Tokens that are asked for, or vectors that are sent.")]


def explain(
    file: PolicyFile,
    tenant: Tenant,
    model: ModelName,
    method: MethodName = None,
    subject: Subject = None,
    arrives: Arrives = None,
    count: Count = 1,
    as_json: options.Json = False,
) -> None:
    """Say what a policy decides, by which rule and why, what it guarantees in plain words, and the remaining budget."""
    from privacy.policy.loading import load_policy
    from privacy.types import Ask, Method, Principal, Protection

    policy = load_policy(file)
    principal = Principal(tenant, "explained", subject)
    methods = [_named(Method, method, "--method")] if method else list(Method)
    ways = [_named(Protection, arrives, "--arrives")] if arrives else list(Protection)
    asks = [[Ask(principal, model, each, way, count) for way in ways] for each in methods]
    answers = [_answer(policy, variants) for variants in asks]
    if as_json:
        print_json([_document(ask, decision, remaining) for ask, decision, remaining in answers])
        return
    from privacy.policy.explain import explanation

    for ask, decision, remaining in answers:
        out().print(_title(ask, decision), markup=False)
        out().print(_indented(explanation(decision, remaining)), markup=False, soft_wrap=True)


def _named(kind: Any, name: str, flag: str) -> Any:
    try:
        return kind(name)
    except ValueError:
        raise ConfigurationError(f"{flag} {name!r} is not known; it is one of: {', '.join(kind)}") from None


def _answer(policy: "Policy", variants: "list[Ask]") -> "tuple[Ask, Decision, Remaining | None]":
    """The first variant that is permitted, else the first."""
    from privacy.ledger.spent import remaining_of
    from privacy.policy.decide import decide

    decisions = [(ask, decide(policy, ask, "explained")) for ask in variants]
    ask, decision = next((pair for pair in decisions if pair[1].allowed), decisions[0])
    return ask, decision, remaining_of(decision, policy.state.ledger_file)


def _title(ask: "Ask", decision: "Decision") -> str:
    ways = {"none": "in the clear", "local-dp": "with noise from the client", "encrypted": "encrypted"}
    how = f", {ways[ask.arrives.value]}" if decision.allowed and ask.arrives.value in ways else ""
    return f"{ask.principal.tenant}: {ask.method.value} with {ask.model}{how}"


def _indented(text: str) -> str:
    return "\n".join(f"  {line}" for line in text.splitlines()) + "\n"


def _document(ask: "Ask", decision: "Decision", remaining: "Remaining | None") -> dict[str, object]:
    from dataclasses import asdict

    from privacy.policy.explain import guarantee_sentence

    document: dict[str, object] = {
        "method": ask.method.value,
        "arrives": ask.arrives.value,
        "allowed": decision.allowed,
        "reason": decision.reason,
        "rules": list(decision.rules),
        "policy_revision": decision.policy_revision,
    }
    if decision.allowed:
        document |= {
            "protection": decision.protection.value,
            "side_channels": asdict(decision.side_channels),
            "may_log": sorted(decision.may_log),
        }
    if decision.guarantee:
        document["guarantee"] = asdict(decision.guarantee)
        document["in_plain_words"] = guarantee_sentence(decision.guarantee)
    if decision.mechanism:
        document["mechanism"] = {"name": decision.mechanism.name, "parameters": dict(decision.mechanism.parameters)}
    if remaining:
        document["budget"] = _budget(remaining)
    return document


def _budget(remaining: "Remaining") -> dict[str, object]:
    unit = "queries" if remaining.account.owner.value == "weights" else "rho"
    return {
        "account": remaining.account.key,
        "lifetime": remaining.account.lifetime,
        "unit": unit,
        "cap": remaining.account.rho_cap,
        "spent": remaining.spent,
        "left": remaining.left,
        "releases_left": remaining.releases_left,
    }
