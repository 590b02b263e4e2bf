"""A policy with a rule of every kind, requests under it, and a request's whole life: for the tests of the guard."""

from pathlib import Path
from typing import Any

from privacy.audit.receipts import verify_receipt
from privacy.guard import Guard
from privacy.guard_opening import begin_state, is_begun
from privacy.policy.types import Budget, Effect, Identity, Policy, Rule, State
from privacy.types import (
    Account,
    Ask,
    Guarantee,
    MechanismSpec,
    Method,
    Owner,
    Principal,
    Protection,
)

GUARANTEE = Guarantee("person", "any-two-inputs", "reader-of-outputs", "forever", 8.0, 1e-6, "zcdp")
RESPONSE = MechanismSpec("randomised-response", (("epsilon", 1.0), ("labels", 2.0)))
VECTORS = MechanismSpec("discrete-gaussian", (("clip", 1.0), ("noise_multiplier", 4.0)))
#: What one randomised response of epsilon 1 costs.
RHO = 0.46211715726
CAP = 2.0


def rule(name: str, method: Method, protection: Protection, **more: Any) -> Rule:
    arrives = protection if protection in (Protection.LOCAL_DP, Protection.ENCRYPTED) else Protection.NONE
    scopes = {"tenants": None, "models": None, "methods": frozenset({method}), "arrives": frozenset({arrives})}
    return Rule(name, Effect.PERMIT, **scopes, protection=protection, **more)


def subject_budget(name: str, cap: float = CAP) -> Budget:
    return Budget(Owner.SUBJECT, name, cap, 1e-6, "forever")


RULES = (
    rule("plain", Method.EMBED, Protection.NONE),
    rule(
        "labels",
        Method.CLASSIFY,
        Protection.OUTPUT_DP,
        guarantee=GUARANTEE,
        mechanism=RESPONSE,
        budget=subject_budget("labels"),
    ),
    rule(
        "vectors",
        Method.CLASSIFY_VECTORS,
        Protection.LOCAL_DP,
        guarantee=GUARANTEE,
        mechanism=VECTORS,
        budget=subject_budget("vectors"),
    ),
    rule(
        "sealed",
        Method.CLASSIFY_ENCRYPTED,
        Protection.ENCRYPTED,
        budget=Budget(Owner.WEIGHTS, "weights", 5.0, 0.0, "forever"),
    ),
    rule("half-written", Method.GENERATE, Protection.OUTPUT_DP),
)


def policy_in(folder: Path) -> Policy:
    """A policy whose state is begun."""
    policy = unbegun_policy_in(folder)
    if not is_begun(policy.state):
        begin_state(policy)
    return policy


def unbegun_policy_in(folder: Path) -> Policy:
    names = frozenset({"clinic", "court"}), frozenset({"minilm", "other"})
    return Policy("test", "r" * 64, *names, RULES, Identity(), (), State(folder / "state"))


def ask(method: Method = Method.CLASSIFY, **more: Any) -> Ask:
    arrives = {Method.CLASSIFY_VECTORS: Protection.LOCAL_DP, Method.CLASSIFY_ENCRYPTED: Protection.ENCRYPTED}
    wrapping = more.pop("arrives", arrives.get(method, Protection.NONE))
    principal = Principal(more.pop("tenant", "clinic"), "jwt", more.pop("subject", "alice"))
    return Ask(principal, more.pop("model", "minilm"), method, wrapping, **more)


def passed() -> None:
    """A check of a payload that finds nothing wrong."""


def serve(guard: Guard, asked: Ask, payload: bytes, answer: bytes = b"noisy label") -> Any:
    """A request's whole life. Returns the answer that left and its verified receipt."""
    with guard.admitted(asked, payload) as admission:
        if admission.replayed is None:
            guard.open(admission, passed)
        answer = admission.replayed if admission.replayed is not None else answer
        return answer, verify_receipt(guard.release(admission, answer).to_bytes(), guard.public_key)


def spent(guard: Guard, name: str = "labels/clinic/alice", owner: Owner = Owner.SUBJECT) -> float:
    return guard.ledger.spent(Account(owner, name, CAP, 1e-6))
