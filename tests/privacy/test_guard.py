"""The guard: nothing is computed that was not admitted, nothing leaves that was not charged, stored and signed."""

import contextlib
import errno
import hashlib
import os
import random
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from privacy import admission as admission_module
from privacy import guard as guard_module
from privacy.audit.receipts import verify_receipt
from privacy.audit.signing import load_public_key
from privacy.audit.verify import verify
from privacy.errors import (
    AuditError,
    BudgetExhaustedError,
    DeniedError,
    EncryptionError,
    LedgerError,
    MechanismError,
    PolicyError,
    PrivacyError,
)
from privacy.guard import Guard
from privacy.guard_opening import begin_state, is_begun, open_guard
from privacy.ledger.accounting import epsilon_of_rho
from privacy.ledger.replays import ReplaySecret
from privacy.policy.types import Budget, Effect, Identity, Policy, Rule, State
from privacy.types import (
    Account,
    Ask,
    Charge,
    Decision,
    Event,
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


@pytest.fixture
def guard(tmp_path: Path) -> Iterator[Guard]:
    guard = open_guard(policy_in(tmp_path))
    yield guard
    guard.close()


def ask(method: Method = Method.CLASSIFY, **more: Any) -> Ask:
    arrives = {Method.CLASSIFY_VECTORS: Protection.LOCAL_DP, Method.CLASSIFY_ENCRYPTED: Protection.ENCRYPTED}
    principal = Principal(more.pop("tenant", "clinic"), "jwt", more.pop("subject", "alice"))
    return Ask(principal, more.pop("model", "minilm"), method, arrives.get(method, Protection.NONE), **more)


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


def test_request_is_charged_and_its_receipt_says_so(guard: Guard) -> None:
    answer, receipt = serve(guard, ask(count=2), b"two texts")
    assert receipt.charged_rho == pytest.approx(2 * RHO) == spent(guard)
    assert receipt.charged_epsilon == epsilon_of_rho(receipt.charged_rho, 1e-6)
    assert receipt.remaining_rho == pytest.approx(CAP - 2 * RHO)
    assert receipt.guarantee == GUARANTEE and receipt.policy_revision == "r" * 64
    assert receipt.mechanism == "randomised-response(epsilon=1.0, labels=2.0)"
    assert receipt.answer_sha256 == hashlib.sha256(answer).hexdigest()
    assert not receipt.replayed


def test_receipt_names_a_head_that_the_log_holds(guard: Guard, tmp_path: Path) -> None:
    _, receipt = serve(guard, ask(), b"text")
    serve(guard, ask(), b"another")
    state = guard.policy.state
    guard.close()
    key = load_public_key(state.public_key_file)
    assert verify(state.audit_file, key, receipt.audit_digest).ok
    assert not verify(state.audit_file, key, "0" * 64).ok


def test_identical_request_gets_the_same_bytes_for_nothing(guard: Guard) -> None:
    first, _ = serve(guard, ask(), b"text", b"one draw")
    again, receipt = serve(guard, ask(), b"text", b"another draw")
    assert first == again == b"one draw"
    assert receipt.replayed and receipt.charged_rho == receipt.charged_epsilon == 0.0
    assert spent(guard) == pytest.approx(RHO)


def test_identical_request_is_free_when_the_budget_is_gone_and_after_a_restart(tmp_path: Path) -> None:
    guard = open_guard(policy_in(tmp_path))
    for number in range(4):
        serve(guard, ask(), b"%d" % number, b"drawn %d" % number)
    with pytest.raises(BudgetExhaustedError):
        serve(guard, ask(), b"new text")
    guard.close()
    guard = open_guard(policy_in(tmp_path))
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
def test_request_that_differs_in_anything_is_drawn_and_charged_anew(guard: Guard, other: dict[str, Any]) -> None:
    serve(guard, ask(), b"text", b"first")
    answer, receipt = serve(guard, ask(**other), b"text", b"second")
    assert answer == b"second" and not receipt.replayed and receipt.charged_rho >= RHO * (1 - 1e-9)


def test_key_depends_on_everything_that_matters() -> None:
    secret = ReplaySecret(b"s" * 32)
    decision = Decision(
        "d", True, "", policy_revision="1", mechanism=RESPONSE, account=Account(Owner.SUBJECT, "a", 1, 0)
    )
    keys = [
        secret.key(ask(), decision, b"text"),
        secret.key(ask(), decision, b"texts"),
        secret.key(ask(Method.EMBED), decision, b"text"),
        secret.key(ask(subject="bob"), decision, b"text"),
        secret.key(ask(), replace(decision, policy_revision="2"), b"text"),
        secret.key(ask(), replace(decision, mechanism=VECTORS), b"text"),
        secret.key(ask(), replace(decision, account=None), b"text"),
        ReplaySecret(b"t" * 32).key(ask(), decision, b"text"),
    ]
    assert len(set(keys)) == len(keys)
    assert secret.key(ask(), replace(decision, decision_id="e"), b"text") == keys[0]


@pytest.mark.parametrize(
    "asked",
    [
        ask(tenant="stranger"),
        ask(model="CANARY: a prompt in a model's place"),
        ask(Method.SEARCH_ENCRYPTED),
        ask(count=0),
        ask(count=-1),
        replace(ask(Method.CLASSIFY_VECTORS), arrives=Protection.NONE),
        replace(ask(Method.CLASSIFY_ENCRYPTED), arrives=Protection.NONE),
    ],
)
def test_request_that_no_rule_permits_is_denied_and_recorded(guard: Guard, asked: Ask) -> None:
    with pytest.raises(DeniedError):
        guard.admit(asked, b"text")
    log = guard.policy.state.audit_file
    guard.close()
    assert '"allowed":0' in log.read_text() and "CANARY" not in log.read_text()


def test_rule_that_lacks_its_mechanism_admits_nothing(guard: Guard) -> None:
    with pytest.raises(PolicyError, match="complete it"):
        guard.admit(ask(Method.GENERATE), b"text")


def test_answer_leaves_only_after_opening_and_once(guard: Guard) -> None:
    admission = guard.admit(ask(), b"text")
    with pytest.raises(DeniedError, match="opened"):
        guard.release(admission, b"answer")
    guard.open(admission)
    guard.release(admission, b"answer")
    with pytest.raises(DeniedError, match="once"):
        guard.release(admission, b"answer")


def test_replay_with_other_bytes_is_refused(guard: Guard) -> None:
    serve(guard, ask(), b"text", b"first")
    with pytest.raises(DeniedError, match="no others"):
        guard.release(guard.admit(ask(), b"text"), b"second")


def test_abandoned_request_stays_charged_and_gets_no_answer(guard: Guard) -> None:
    with pytest.raises(ZeroDivisionError), guard.admitted(ask(), b"text") as admission:
        guard.open(admission)
        _ = 1 / 0
    assert spent(guard) == pytest.approx(RHO)
    with pytest.raises(DeniedError):
        guard.release(admission, b"late")
    assert guard.admit(ask(), b"text").replayed is None


def test_noised_vectors_must_be_checked(guard: Guard) -> None:
    admission = guard.admit(ask(Method.CLASSIFY_VECTORS), b"rows")
    with pytest.raises(DeniedError, match="checked"):
        guard.open(admission)

    def refuse() -> None:
        raise MechanismError("the vectors are not on the grid")

    with pytest.raises(MechanismError):
        guard.open(admission, refuse)
    with pytest.raises(DeniedError):
        guard.release(admission, b"answer")


@pytest.mark.parametrize(
    ("method", "arrives", "error"),
    [
        (Method.CLASSIFY_VECTORS, Protection.NONE, MechanismError),
        (Method.CLASSIFY, Protection.LOCAL_DP, MechanismError),
        (Method.CLASSIFY_ENCRYPTED, Protection.NONE, EncryptionError),
        (Method.EMBED, Protection.ENCRYPTED, EncryptionError),
    ],
)
def test_what_came_in_another_wrapping_is_not_opened(
    guard: Guard, method: Method, arrives: Protection, error: type[PrivacyError]
) -> None:
    """Though a decision let it through: the guard looks for itself."""
    wanted = Protection.LOCAL_DP if error is MechanismError else Protection.ENCRYPTED
    admitted = guard.admit(ask(Method.EMBED), b"text")
    wrong = replace(
        admitted,
        ask=replace(admitted.ask, method=method, arrives=arrives),
        decision=replace(admitted.decision, protection=wanted),
    )
    with pytest.raises(error):
        guard.open(wrong, passed)


def test_encrypted_queries_are_counted_to_their_cap(guard: Guard) -> None:
    _, receipt = serve(guard, ask(Method.CLASSIFY_ENCRYPTED, count=2), b"ciphertext")
    assert receipt.charged_rho == 2.0 and receipt.remaining_rho == 3.0
    assert receipt.charged_epsilon == receipt.spent_epsilon == 0.0
    serve(guard, ask(Method.CLASSIFY_ENCRYPTED, subject="bob", count=3), b"ciphertext 2")
    with pytest.raises(BudgetExhaustedError):
        serve(guard, ask(Method.CLASSIFY_ENCRYPTED), b"ciphertext 3")
    assert spent(guard, "clinic/minilm", Owner.WEIGHTS) == 5.0


def test_plain_request_costs_nothing_and_is_recorded_before_it_leaves(guard: Guard) -> None:
    _, receipt = serve(guard, ask(Method.EMBED), b"text")
    assert receipt.charged_rho == 0.0 and receipt.remaining_rho is None and receipt.guarantee is None
    assert receipt.decision_id in guard.policy.state.audit_file.read_text()


def fail_with_content(*_: object) -> Any:
    raise RuntimeError("the patient's name is Alice")


@pytest.mark.parametrize("where", ["decide", "price", "note"])
def test_unexpected_failure_is_a_refusal_without_content(
    guard: Guard, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    if where == "decide":
        monkeypatch.setattr(guard_module, "decide", fail_with_content)
    elif where == "price":
        monkeypatch.setattr(guard, "_price", fail_with_content)
    else:
        monkeypatch.setattr(guard.ledger, "note", fail_with_content)
    with pytest.raises(DeniedError) as refusal:
        guard.admit(ask(), b"text")
    assert "Alice" not in str(refusal.value) and refusal.value.__suppress_context__
    assert spent(guard) == 0.0


def test_failure_in_a_check_is_a_refusal(guard: Guard) -> None:
    with pytest.raises(DeniedError, match="RuntimeError"):
        guard.open(guard.admit(ask(), b"text"), fail_with_content)


@pytest.mark.parametrize("rho", [0.0, -1.0, float("nan"), float("inf")])
def test_mechanism_that_costs_nothing_is_refused(guard: Guard, monkeypatch: pytest.MonkeyPatch, rho: float) -> None:
    monkeypatch.setattr(guard, "_price", lambda spec, count: Charge(rho, Event("broken", ())))
    with pytest.raises(LedgerError):
        guard.admit(ask(), b"text")


def test_unknown_mechanism_is_refused(guard: Guard, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        guard, "_price", lambda spec, count: admission_module.price_by_mechanism(MechanismSpec("magic"), count)
    )
    with pytest.raises(MechanismError, match="magic"):
        guard.admit(ask(), b"text")


def no_space(descriptor: int) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("method", [Method.CLASSIFY, Method.EMBED])
def test_log_that_cannot_be_written_lets_nothing_leave(
    guard: Guard, monkeypatch: pytest.MonkeyPatch, method: Method
) -> None:
    """Neither a charged nor a plain request, neither now nor when the disk has room again."""
    monkeypatch.setattr(os, "fdatasync", no_space)
    with pytest.raises(LedgerError):
        serve(guard, ask(method), b"text")
    monkeypatch.undo()
    for again in (Method.CLASSIFY, Method.EMBED):
        with pytest.raises(LedgerError, match="start again"):
            guard.admit(ask(again), b"text")


def test_answer_that_cannot_be_stored_does_not_leave(guard: Guard, monkeypatch: pytest.MonkeyPatch) -> None:
    admission = guard.admit(ask(), b"text")
    guard.open(admission)
    monkeypatch.setattr(os, "fdatasync", no_space)
    with pytest.raises(LedgerError):
        guard.release(admission, b"answer")


def test_ten_thousand_odd_requests_are_answered_or_refused(guard: Guard) -> None:
    """Whatever an ask holds, a refusal is all that comes of it unless a rule permits it."""
    chance = random.Random(7)
    names: list[Any] = ["minilm", "", "\ud800", "x" * 5000, "a/b", None, 7, b"clinic", "\x00", "'; DROP"]
    ways: list[Any] = [*Method, None, "classify"]
    protections: list[Any] = [*Protection, None, "none"]
    counts: list[Any] = [0, -1, 2**70, 0.5, None, True, "1", float("nan")]

    def odd_or(usual: Any, others: list[Any]) -> Any:
        return usual if chance.random() < 0.6 else chance.choice(others)

    admitted = 0
    for _ in range(10_000):
        principal = Principal(odd_or("clinic", names), odd_or("jwt", names), odd_or("alice", names))
        method, way = odd_or(Method.EMBED, ways), odd_or(Protection.NONE, protections)
        odd = Ask(principal, odd_or("minilm", names), method, way, odd_or(1, counts))
        try:
            admission = guard.admit(odd, b"text")
        except PrivacyError:
            continue
        admitted += 1
        assert admission.decision.allowed and admission.ask.principal.tenant == "clinic"
        assert admission.ask.model == "minilm" and admission.ask.count >= 1
    assert 500 < admitted < 2000
    serve(guard, ask(Method.EMBED), b"the guard still works")


def test_no_content_and_no_key_is_in_the_log(guard: Guard) -> None:
    serve(guard, ask(), b"CANARY-PAYLOAD", b"CANARY-ANSWER")
    guard.close()
    state = guard.policy.state
    secrets = [state.signing_key_file.read_bytes().split(b"\n")[1], (state.directory / "replay.secret").read_bytes()]
    log = state.audit_file.read_bytes()
    everything = b"".join(
        path.read_bytes() for path in state.directory.iterdir() if path.name.startswith(("audit", "ledger"))
    )
    assert b"CANARY" not in log and b"CANARY-PAYLOAD" not in everything
    assert not any(secret in everything or secret.hex().encode() in everything for secret in secrets)


def test_second_guard_on_one_state_folder_is_refused(guard: Guard) -> None:
    with pytest.raises(AuditError, match="another process"):
        open_guard(guard.policy)


def test_guard_without_its_signing_key_is_refused(tmp_path: Path) -> None:
    policy = policy_in(tmp_path)
    open_guard(policy).close()
    policy.state.signing_key_file.unlink()
    with pytest.raises(AuditError, match="restore it"):
        open_guard(policy)


@pytest.mark.parametrize("change", [lambda path: path.chmod(0o644), lambda path: path.write_bytes(b"short")])
def test_replay_secret_that_cannot_be_trusted_is_refused(tmp_path: Path, change: Callable[[Path], Any]) -> None:
    policy = policy_in(tmp_path)
    open_guard(policy).close()
    change(policy.state.directory / "replay.secret")
    with pytest.raises(LedgerError):
        open_guard(policy)


def test_budgets_without_a_state_are_not_untouched_budgets(tmp_path: Path) -> None:
    policy = policy_in(tmp_path)
    guard = open_guard(policy)
    serve(guard, ask(), b"a text")
    guard.close()
    with pytest.raises(LedgerError, match="never begun anew"):
        begin_state(policy)
    for path in policy.state.directory.iterdir():
        path.unlink()
    with pytest.raises(LedgerError, match="hetero privacy init FILE"):
        open_guard(policy)
    policy.state.directory.rmdir()
    with pytest.raises(LedgerError, match="hetero privacy init FILE"):
        open_guard(policy)
    begin_state(policy)
    with contextlib.closing(open_guard(policy)) as guard:
        assert spent(guard) == 0


def test_policy_without_budgets_needs_no_state_that_was_begun(tmp_path: Path) -> None:
    policy = unbegun_policy_in(tmp_path)
    plain = replace(policy, rules=tuple(rule for rule in policy.rules if rule.budget is None))
    assert plain.rules
    open_guard(plain).close()
