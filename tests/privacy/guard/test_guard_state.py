"""The folder that a guard stands on: one owner, nothing of it lost or made up."""

import contextlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from privacy.errors import (
    AuditError,
    LedgerError,
)
from privacy.guard import Guard
from privacy.guard_opening import begin_state, open_guard


def test_second_guard_on_one_state_folder_is_refused(guard: Guard) -> None:
    with pytest.raises(AuditError, match="another process"):
        open_guard(guard.policy)


def test_guard_without_its_signing_key_is_refused(tmp_path: Path, kit: ModuleType) -> None:
    policy = kit.policy_in(tmp_path)
    open_guard(policy).close()
    policy.state.signing_key_file.unlink()
    with pytest.raises(AuditError, match="restore it"):
        open_guard(policy)


@pytest.mark.parametrize("change", [lambda path: path.chmod(0o644), lambda path: path.write_bytes(b"short")])
def test_replay_secret_that_cannot_be_trusted_is_refused(
    tmp_path: Path, change: Callable[[Path], Any], kit: ModuleType
) -> None:
    policy = kit.policy_in(tmp_path)
    open_guard(policy).close()
    change(policy.state.directory / "replay.secret")
    with pytest.raises(LedgerError):
        open_guard(policy)


def test_budgets_without_a_state_are_not_untouched_budgets(
    tmp_path: Path, ask: Callable[..., Any], serve: Callable[..., Any], spent: Callable[..., Any], kit: ModuleType
) -> None:
    policy = kit.policy_in(tmp_path)
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


def test_policy_without_budgets_needs_no_state_that_was_begun(tmp_path: Path, kit: ModuleType) -> None:
    policy = kit.unbegun_policy_in(tmp_path)
    plain = replace(policy, rules=tuple(rule for rule in policy.rules if rule.budget is None))
    assert plain.rules
    open_guard(plain).close()
