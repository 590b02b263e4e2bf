"""Opens the guard of a policy on its state folder: keys, audit log, ledger; made on first use, refused when in doubt.

    STATE/signing.key, signing.pub    what receipts and the audit log's heads are signed and verified with
    STATE/replay.secret               what retries are recognised by
    STATE/audit.jsonl, audit.jsonl.head, ledger.sqlite3, ledger.sqlite3.lock

Knows where things are; each thing says itself whether it can be believed.
"""

import contextlib
from pathlib import Path

from privacy.audit.log import AuditLog
from privacy.audit.signing import Signer, create_signer, load_signer
from privacy.errors import AuditError
from privacy.guard import Guard
from privacy.ledger.ledger import Ledger
from privacy.ledger.replays import open_replay_secret
from privacy.policy.types import Policy, State


def open_guard(policy: Policy, *, lease_charges: int = 0) -> Guard:
    """The guard of a policy; `lease_charges` as for `Ledger`.

    Raises AuditError or LedgerError where what was spent cannot be known, and where another process holds the folder.
    """
    state = policy.state
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
    if _anything_of(state.audit_file) or state.ledger_file.exists():
        raise AuditError(
            f"The signing key {state.signing_key_file} is gone, and {state.directory} holds what it signed: restore it"
        )
    return create_signer(state.signing_key_file, state.public_key_file)


def _anything_of(file: Path) -> bool:
    return file.exists() and file.stat().st_size > 0
