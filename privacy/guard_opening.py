"""Opens the guard of a policy on its state folder: keys, audit log, ledger; refused when in doubt.

    STATE/signing.key, signing.pub    what receipts and the audit log's heads are signed and verified with
    STATE/replay.secret               what retries are recognised by
    STATE/audit.jsonl, audit.jsonl.head, ledger.sqlite3, ledger.sqlite3.lock

A folder without any of it stands for budgets that nobody has spent of: only `begin_state` makes that so, never a start.
Knows where things are; each thing says itself whether it can be believed.
"""

import contextlib
from pathlib import Path

from privacy.audit.log import AuditLog
from privacy.audit.signing import Signer, create_signer, load_signer
from privacy.errors import AuditError, LedgerError
from privacy.guard import Guard
from privacy.ledger.ledger import Ledger
from privacy.ledger.replays import open_replay_secret
from privacy.policy.types import Policy, State
from privacy.rotation import finish_rotation


def begin_state(policy: Policy) -> None:
    """Make the state folder of a policy: from here on its budgets are untouched.

    Raises LedgerError where something was spent or recorded there, AuditError where it cannot be written.
    """
    if is_begun(policy.state):
        raise LedgerError(f"{policy.state.directory} holds what was spent already; it is never begun anew")
    _opened(policy, 0).close()


def open_guard(policy: Policy, *, lease_charges: int = 0) -> Guard:
    """The guard of a policy; `lease_charges` as for `Ledger`.

    Raises AuditError or LedgerError where what was spent cannot be known, and where another process holds the folder.
    A policy without budgets needs no folder that was begun.
    """
    if policy.accounts() and not is_begun(policy.state):
        raise LedgerError(
            f"The policy has budgets, and {policy.state.directory} knows of nothing that was spent: restore it, or "
            "begin untouched budgets by: hetero privacy init FILE"
        )
    return _opened(policy, lease_charges)


def is_begun(state: State) -> bool:
    """Whether anything was ever recorded or spent in the folder."""
    return _anything_of(state.audit_file) or state.ledger_file.exists()


def _opened(policy: Policy, lease_charges: int) -> Guard:
    state = policy.state
    finish_rotation(state)
    signer = open_signer(state)
    secret = open_replay_secret(state.directory / "replay.secret")
    with contextlib.ExitStack() as opened:
        audit = opened.enter_context(AuditLog(state.audit_file, signer))
        ledger = opened.enter_context(Ledger(state.ledger_file, audit, lease_charges=lease_charges))
        ledger.note("policy", {"name": policy.name, "revision": policy.revision}).result()
        opened.pop_all()
    return Guard(policy, ledger, audit, signer, secret)


def open_signer(state: State) -> Signer:
    """The signer of a state folder. A new key is made only where nothing was ever signed."""
    if state.signing_key_file.exists():
        return load_signer(state.signing_key_file)
    if is_begun(state):
        raise AuditError(
            f"The signing key {state.signing_key_file} is gone, and {state.directory} holds what it signed: restore it"
        )
    return create_signer(state.signing_key_file, state.public_key_file)


def _anything_of(file: Path) -> bool:
    return file.exists() and file.stat().st_size > 0
