"""Makes the receipt of one admitted request from what the ledger and the audit log say. Decides and spends nothing."""

import hashlib
from typing import Any

from privacy.admission import Admission
from privacy.audit.log import AuditLog
from privacy.audit.receipts import Receipt, sign_receipt
from privacy.audit.signing import Signer
from privacy.ledger.accounting import epsilon_of_rho
from privacy.ledger.ledger import Ledger
from privacy.types import MechanismSpec


def receipt_for(admission: Admission, answer: bytes, ledger: Ledger, audit: AuditLog, signer: Signer) -> Receipt:
    """The signed receipt of an answer's bytes, once they are stored."""
    decision, head = admission.decision, audit.head
    content: dict[str, Any] = {
        "decision_id": decision.decision_id,
        "issued_at_seconds": audit.at_seconds,
        "policy_revision": decision.policy_revision,
        "protection": decision.protection.value,
        "mechanism": _mechanism_text(decision.mechanism),
        "guarantee": decision.guarantee,
        "replayed": admission.replayed is not None,
        "answer_sha256": hashlib.sha256(answer).hexdigest(),
        "audit_seq": head.seq,
        "audit_digest": head.digest,
    }
    return sign_receipt(content | _sums(admission, ledger), signer)


def _sums(admission: Admission, ledger: Ledger) -> dict[str, float | None]:
    account = admission.decision.account
    if account is None:
        return _told(0.0, 0.0, None, 0.0)
    charged = admission.reservation.rho if admission.reservation else 0.0
    return _told(charged, ledger.spent(account), ledger.left(account), account.delta)


def _told(charged: float, spent: float, remaining: float | None, delta: float) -> dict[str, float | None]:
    """An account without a delta counts queries, not privacy: its epsilon is told as 0."""
    return {
        "charged_rho": charged,
        "charged_epsilon": epsilon_of_rho(charged, delta) if delta else 0.0,
        "spent_rho": spent,
        "spent_epsilon": epsilon_of_rho(spent, delta) if delta else 0.0,
        "remaining_rho": remaining,
        "delta": delta,
    }


def _mechanism_text(mechanism: MechanismSpec | None) -> str:
    if mechanism is None:
        return ""
    return f"{mechanism.name}({', '.join(f'{name}={value!r}' for name, value in mechanism.parameters)})"
