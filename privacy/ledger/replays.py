"""Names identical requests by a key that tells nothing of them without a secret: HMAC-SHA256 over all that matters.

An identical retry gets the stored bytes. Whatever changes who asks, what is asked, or how it is protected, changes the
key, so that no two kinds of noise are ever drawn for what a client takes to be one answer.
"""

import hashlib
import hmac
import json
import secrets
from pathlib import Path

from privacy.audit.secret_files import read_secret, write_secret
from privacy.errors import LedgerError
from privacy.types import Ask, Decision

_SECRET_BYTES = 32


class ReplaySecret:
    """The secret that keys are made with: whoever lacks it cannot test guesses of an input against a stored key."""

    def __init__(self, secret: bytes) -> None:
        if len(secret) != _SECRET_BYTES:
            raise LedgerError(f"The replay secret has {len(secret)} bytes, not {_SECRET_BYTES}: restore its file")
        self._secret = secret

    def key(self, ask: Ask, decision: Decision, payload: bytes) -> bytes:
        """32 bytes for one tenant's request about one subject, under one policy, with one mechanism and payload."""
        mechanism = decision.mechanism
        context = [
            ask.principal.tenant,
            ask.principal.data_subject,
            ask.model,
            ask.method.value,
            ask.arrives.value,
            str(ask.count),
            decision.policy_revision,
            decision.account.key if decision.account else "",
            [mechanism.name, [list(parameter) for parameter in mechanism.parameters]] if mechanism else [],
        ]
        head = json.dumps(context, separators=(",", ":")).encode()
        return hmac.new(self._secret, len(head).to_bytes(8, "big") + head + payload, hashlib.sha256).digest()


def open_replay_secret(path: Path) -> ReplaySecret:
    """The secret in a file of mode 0600, made on first use. Raises LedgerError where others may read it."""
    if not path.exists():
        write_secret(path, secrets.token_bytes(_SECRET_BYTES), LedgerError)
    return ReplaySecret(read_secret(path, LedgerError))
