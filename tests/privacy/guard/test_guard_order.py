"""Admit, open, release: nothing is computed that was not admitted, nothing leaves out of turn."""

import random
from collections.abc import Callable
from dataclasses import replace
from types import ModuleType
from typing import Any

import pytest

from privacy.errors import (
    DeniedError,
    EncryptionError,
    MechanismError,
    PolicyError,
    PrivacyError,
)
from privacy.guard import Guard
from privacy.types import (
    Ask,
    Method,
    Principal,
    Protection,
)

#: What one randomised response of epsilon 1 costs.
RHO = 0.46211715726


@pytest.mark.parametrize(
    ("method", "change"),
    [
        (Method.CLASSIFY, {"tenant": "stranger"}),
        (Method.CLASSIFY, {"model": "CANARY: a prompt in a model's place"}),
        (Method.SEARCH_ENCRYPTED, {}),
        (Method.CLASSIFY, {"count": 0}),
        (Method.CLASSIFY, {"count": -1}),
        (Method.CLASSIFY_VECTORS, {"arrives": Protection.NONE}),
        (Method.CLASSIFY_ENCRYPTED, {"arrives": Protection.NONE}),
    ],
)
def test_request_that_no_rule_permits_is_denied_and_recorded(
    guard: Guard, ask: Callable[..., Any], method: Method, change: dict[str, Any]
) -> None:
    with pytest.raises(DeniedError):
        guard.admit(ask(method, **change), b"text")
    log = guard.policy.state.audit_file
    guard.close()
    assert '"allowed":0' in log.read_text() and "CANARY" not in log.read_text()


def test_rule_that_lacks_its_mechanism_admits_nothing(guard: Guard, ask: Callable[..., Any]) -> None:
    with pytest.raises(PolicyError, match="complete it"):
        guard.admit(ask(Method.GENERATE), b"text")


def test_answer_leaves_only_after_opening_and_once(guard: Guard, ask: Callable[..., Any]) -> None:
    admission = guard.admit(ask(), b"text")
    with pytest.raises(DeniedError, match="opened"):
        guard.release(admission, b"answer")
    guard.open(admission)
    guard.release(admission, b"answer")
    with pytest.raises(DeniedError, match="once"):
        guard.release(admission, b"answer")


def test_replay_with_other_bytes_is_refused(guard: Guard, ask: Callable[..., Any], serve: Callable[..., Any]) -> None:
    serve(guard, ask(), b"text", b"first")
    with pytest.raises(DeniedError, match="no others"):
        guard.release(guard.admit(ask(), b"text"), b"second")


def test_abandoned_request_stays_charged_and_gets_no_answer(
    guard: Guard, ask: Callable[..., Any], spent: Callable[..., Any]
) -> None:
    with pytest.raises(ZeroDivisionError), guard.admitted(ask(), b"text") as admission:
        guard.open(admission)
        _ = 1 / 0
    assert spent(guard) == pytest.approx(RHO)
    with pytest.raises(DeniedError):
        guard.release(admission, b"late")
    assert guard.admit(ask(), b"text").replayed is None


def test_noised_vectors_must_be_checked(guard: Guard, ask: Callable[..., Any]) -> None:
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
    guard: Guard,
    method: Method,
    arrives: Protection,
    error: type[PrivacyError],
    ask: Callable[..., Any],
    kit: ModuleType,
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
        guard.open(wrong, kit.passed)


def test_ten_thousand_odd_requests_are_answered_or_refused(
    guard: Guard, ask: Callable[..., Any], serve: Callable[..., Any]
) -> None:
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
