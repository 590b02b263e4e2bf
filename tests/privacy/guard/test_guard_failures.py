"""Whatever fails inside the guard becomes a refusal that tells nothing, and no answer leaves."""

import errno
import os
from collections.abc import Callable
from typing import Any

import pytest

from privacy import admission as admission_module
from privacy import guard as guard_module
from privacy.errors import (
    DeniedError,
    LedgerError,
    MechanismError,
)
from privacy.guard import Guard
from privacy.types import (
    Charge,
    Event,
    MechanismSpec,
    Method,
)


def fail_with_content(*_: object) -> Any:
    raise RuntimeError("the patient's name is Alice")


@pytest.mark.parametrize("where", ["decide", "price", "note"])
def test_unexpected_failure_is_a_refusal_without_content(
    guard: Guard, monkeypatch: pytest.MonkeyPatch, where: str, ask: Callable[..., Any], spent: Callable[..., Any]
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


def test_failure_in_a_check_is_a_refusal(guard: Guard, ask: Callable[..., Any]) -> None:
    with pytest.raises(DeniedError, match="RuntimeError"):
        guard.open(guard.admit(ask(), b"text"), fail_with_content)


@pytest.mark.parametrize("rho", [0.0, -1.0, float("nan"), float("inf")])
def test_mechanism_that_costs_nothing_is_refused(
    guard: Guard, monkeypatch: pytest.MonkeyPatch, rho: float, ask: Callable[..., Any]
) -> None:
    monkeypatch.setattr(guard, "_price", lambda spec, count: Charge(rho, Event("broken", ())))
    with pytest.raises(LedgerError):
        guard.admit(ask(), b"text")


def test_unknown_mechanism_is_refused(guard: Guard, monkeypatch: pytest.MonkeyPatch, ask: Callable[..., Any]) -> None:
    monkeypatch.setattr(
        guard, "_price", lambda spec, count: admission_module.price_by_mechanism(MechanismSpec("magic"), count)
    )
    with pytest.raises(MechanismError, match="magic"):
        guard.admit(ask(), b"text")


def no_space(descriptor: int) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("method", [Method.CLASSIFY, Method.EMBED])
def test_log_that_cannot_be_written_lets_nothing_leave(
    guard: Guard, monkeypatch: pytest.MonkeyPatch, method: Method, ask: Callable[..., Any], serve: Callable[..., Any]
) -> None:
    """Neither a charged nor a plain request, neither now nor when the disk has room again."""
    monkeypatch.setattr(os, "fdatasync", no_space)
    with pytest.raises(LedgerError):
        serve(guard, ask(method), b"text")
    monkeypatch.undo()
    for again in (Method.CLASSIFY, Method.EMBED):
        with pytest.raises(LedgerError, match="start again"):
            guard.admit(ask(again), b"text")


def test_answer_that_cannot_be_stored_does_not_leave(
    guard: Guard, monkeypatch: pytest.MonkeyPatch, ask: Callable[..., Any]
) -> None:
    admission = guard.admit(ask(), b"text")
    guard.open(admission)
    monkeypatch.setattr(os, "fdatasync", no_space)
    with pytest.raises(LedgerError):
        guard.release(admission, b"answer")


def test_no_content_and_no_key_is_in_the_log(guard: Guard, ask: Callable[..., Any], serve: Callable[..., Any]) -> None:
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
