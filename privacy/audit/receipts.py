"""Receipts: what one answer cost and which guarantee covers it, signed, so that a client can prove it later.

A receipt also names the audit log's head of its moment: a log that was cut back or replaced since no longer holds it.
Knows nothing of content: the answer stands in it as a SHA-256.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from privacy.audit.signing import Signer, signature_holds
from privacy.errors import AuditError
from privacy.types import Guarantee

_PURPOSE = b"hetero receipt 1\n"


@dataclass(frozen=True, slots=True)
class Receipt:
    """What was decided, promised and charged for one answer.

    Where nothing is charged, rho and epsilon are 0 and what remains is None. `spent_epsilon` is what all releases of
    the account come to at `delta` by the enforced accounting.
    """

    decision_id: str
    issued_at_seconds: int
    policy_revision: str
    protection: str
    #: The mechanism as "name(parameter=value, ...)", or "".
    mechanism: str
    guarantee: Guarantee | None
    #: Of this answer alone; 0 for an answer that was given before.
    charged_rho: float
    charged_epsilon: float
    spent_rho: float
    spent_epsilon: float
    remaining_rho: float | None
    delta: float
    #: Whether these are the bytes of an earlier, identical request.
    replayed: bool
    answer_sha256: str
    #: The head of the audit log after the release.
    audit_seq: int
    audit_digest: str
    signature: bytes = b""

    def to_bytes(self) -> bytes:
        """Canonical JSON with the signature: what goes to the client."""
        return _canonical(self._content() | {"signature": self.signature.hex()})

    def signed_part(self) -> bytes:
        """What the signature is over: its purpose, and everything in the receipt but itself."""
        return _PURPOSE + _canonical(self._content())

    def _content(self) -> dict[str, Any]:
        content = asdict(self)
        del content["signature"]
        return content


def sign_receipt(content: Mapping[str, Any], signer: Signer) -> Receipt:
    """The receipt of these fields, signed."""
    unsigned = Receipt(**content)
    return Receipt(**content, signature=signer.sign(unsigned.signed_part()))


def verify_receipt(data: bytes, public_key: bytes) -> Receipt:
    """The receipt in these bytes. Raises AuditError where any of them was changed, or another key signed them."""
    receipt = _parse(data)
    if receipt is None or receipt.to_bytes() != data:
        raise AuditError("The receipt is not in its canonical form: it was changed, or is of another version")
    if not signature_holds(public_key, receipt.signature, receipt.signed_part()):
        raise AuditError("The receipt's signature does not hold: it was changed, or another key signed it")
    return receipt


def _parse(data: bytes) -> Receipt | None:
    try:
        content = json.loads(data)
        guarantee = content.pop("guarantee")
        signature = bytes.fromhex(content.pop("signature"))
        return Receipt(**content, guarantee=guarantee and Guarantee(**guarantee), signature=signature)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None


def _canonical(content: Mapping[str, Any]) -> bytes:
    return json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()
