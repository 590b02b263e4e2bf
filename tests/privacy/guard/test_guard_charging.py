"""What the guard charges, what its receipts say of it, and whom a repeated request gets its bytes from."""

import hashlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from privacy.audit.signing import load_public_key
from privacy.audit.verify import verify
from privacy.errors import (
    BudgetExhaustedError,
)
from privacy.guard import Guard
from privacy.guard_opening import open_guard
from privacy.ledger.accounting import epsilon_of_rho
from privacy.ledger.replays import ReplaySecret
from privacy.types import (
    Account,
    Decision,
    Method,
    Owner,
)

#: What one randomised response of epsilon 1 costs.
RHO = 0.46211715726
CAP = 2.0


def test_request_is_charged_and_its_receipt_says_so(
    guard: Guard, ask: Callable[..., Any], serve: Callable[..., Any], spent: Callable[..., Any], kit: ModuleType
) -> None:
    answer, receipt = serve(guard, ask(count=2), b"two texts")
    assert receipt.charged_rho == pytest.approx(2 * RHO) == spent(guard)
    assert receipt.charged_epsilon == epsilon_of_rho(receipt.charged_rho, 1e-6)
    assert receipt.remaining_rho == pytest.approx(CAP - 2 * RHO)
    assert receipt.guarantee == kit.GUARANTEE and receipt.policy_revision == "r" * 64
    assert receipt.mechanism == "randomised-response(epsilon=1.0, labels=2.0)"
    assert receipt.answer_sha256 == hashlib.sha256(answer).hexdigest()
    assert not receipt.replayed


def test_receipt_names_a_head_that_the_log_holds(
    guard: Guard, tmp_path: Path, ask: Callable[..., Any], serve: Callable[..., Any]
) -> None:
    _, receipt = serve(guard, ask(), b"text")
    serve(guard, ask(), b"another")
    state = guard.policy.state
    guard.close()
    key = load_public_key(state.public_key_file)
    assert verify(state.audit_file, key, receipt.audit_digest).ok
    assert not verify(state.audit_file, key, "0" * 64).ok


def test_plain_request_costs_nothing_and_is_recorded_before_it_leaves(
    guard: Guard, ask: Callable[..., Any], serve: Callable[..., Any]
) -> None:
    _, receipt = serve(guard, ask(Method.EMBED), b"text")
    assert receipt.charged_rho == 0.0 and receipt.remaining_rho is None and receipt.guarantee is None
    assert receipt.decision_id in guard.policy.state.audit_file.read_text()


def test_encrypted_queries_are_counted_to_their_cap(
    guard: Guard, ask: Callable[..., Any], serve: Callable[..., Any], spent: Callable[..., Any]
) -> None:
    _, receipt = serve(guard, ask(Method.CLASSIFY_ENCRYPTED, count=2), b"ciphertext")
    assert receipt.charged_rho == 2.0 and receipt.remaining_rho == 3.0
    assert receipt.charged_epsilon == receipt.spent_epsilon == 0.0
    serve(guard, ask(Method.CLASSIFY_ENCRYPTED, subject="bob", count=3), b"ciphertext 2")
    with pytest.raises(BudgetExhaustedError):
        serve(guard, ask(Method.CLASSIFY_ENCRYPTED), b"ciphertext 3")
    assert spent(guard, "clinic/minilm", Owner.WEIGHTS) == 5.0


def test_identical_request_gets_the_same_bytes_for_nothing(
    guard: Guard, ask: Callable[..., Any], serve: Callable[..., Any], spent: Callable[..., Any]
) -> None:
    first, _ = serve(guard, ask(), b"text", b"one draw")
    again, receipt = serve(guard, ask(), b"text", b"another draw")
    assert first == again == b"one draw"
    assert receipt.replayed and receipt.charged_rho == receipt.charged_epsilon == 0.0
    assert spent(guard) == pytest.approx(RHO)


def test_identical_request_is_free_when_the_budget_is_gone_and_after_a_restart(
    tmp_path: Path, ask: Callable[..., Any], serve: Callable[..., Any], kit: ModuleType
) -> None:
    guard = open_guard(kit.policy_in(tmp_path))
    for number in range(4):
        serve(guard, ask(), b"%d" % number, b"drawn %d" % number)
    with pytest.raises(BudgetExhaustedError):
        serve(guard, ask(), b"new text")
    guard.close()
    guard = open_guard(kit.policy_in(tmp_path))
    assert serve(guard, ask(), b"2")[0] == b"drawn 2"
    with pytest.raises(BudgetExhaustedError):
        serve(guard, ask(), b"new text")
    guard.close()


@pytest.mark.parametrize(
    "other",
    [
        {"tenant": "court"},
        {"subject": "bob"},
        {"model": "other"},
        {"count": 2},
    ],
)
def test_request_that_differs_in_anything_is_drawn_and_charged_anew(
    guard: Guard, other: dict[str, Any], ask: Callable[..., Any], serve: Callable[..., Any]
) -> None:
    serve(guard, ask(), b"text", b"first")
    answer, receipt = serve(guard, ask(**other), b"text", b"second")
    assert answer == b"second" and not receipt.replayed and receipt.charged_rho >= RHO * (1 - 1e-9)


def test_key_depends_on_everything_that_matters(ask: Callable[..., Any], kit: ModuleType) -> None:
    secret = ReplaySecret(b"s" * 32)
    decision = Decision(
        "d", True, "", policy_revision="1", mechanism=kit.RESPONSE, account=Account(Owner.SUBJECT, "a", 1, 0)
    )
    keys = [
        secret.key(ask(), decision, b"text"),
        secret.key(ask(), decision, b"texts"),
        secret.key(ask(Method.EMBED), decision, b"text"),
        secret.key(ask(subject="bob"), decision, b"text"),
        secret.key(ask(), replace(decision, policy_revision="2"), b"text"),
        secret.key(ask(), replace(decision, mechanism=kit.VECTORS), b"text"),
        secret.key(ask(), replace(decision, account=None), b"text"),
        ReplaySecret(b"t" * 32).key(ask(), decision, b"text"),
    ]
    assert len(set(keys)) == len(keys)
    assert secret.key(ask(), replace(decision, decision_id="e"), b"text") == keys[0]
