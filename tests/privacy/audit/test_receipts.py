"""Receipts: what verifies is exactly what was signed."""

import random
from dataclasses import asdict

import pytest

from privacy.audit.receipts import Receipt, sign_receipt, verify_receipt
from privacy.audit.signing import new_signer
from privacy.errors import AuditError
from privacy.types import Guarantee

SIGNER = new_signer()
GUARANTEE = Guarantee("person", "any-two-inputs", "reader-of-outputs", "forever", 8.0, 1e-6, "zcdp")
CONTENT = {
    "decision_id": "d" * 32,
    "issued_at_seconds": 1_800_000_000,
    "policy_revision": "r" * 64,
    "protection": "output-dp",
    "mechanism": "randomised-response(epsilon=2.0, labels=3.0)",
    "guarantee": GUARANTEE,
    "charged_rho": 0.25,
    "charged_epsilon": 3.0,
    "spent_rho": 0.5,
    "spent_epsilon": 4.5,
    "remaining_rho": 0.5,
    "delta": 1e-6,
    "replayed": False,
    "answer_sha256": "a" * 64,
    "audit_seq": 12,
    "audit_digest": "b" * 64,
}


def signed(**changes: object) -> Receipt:
    return sign_receipt(CONTENT | changes, SIGNER)


def test_receipt_comes_back_as_it_was_signed() -> None:
    receipt = signed()
    assert verify_receipt(receipt.to_bytes(), SIGNER.public_key) == receipt


@pytest.mark.parametrize("changes", [{"guarantee": None}, {"remaining_rho": None}, {"replayed": True}])
def test_receipt_without_a_charge_comes_back(changes: dict[str, object]) -> None:
    receipt = signed(**changes)
    assert verify_receipt(receipt.to_bytes(), SIGNER.public_key) == receipt


def test_every_changed_byte_is_found() -> None:
    data, chance = signed().to_bytes(), random.Random(2)
    for place in range(len(data)):
        changed = bytearray(data)
        changed[place] ^= chance.randrange(1, 256)
        with pytest.raises(AuditError):
            verify_receipt(bytes(changed), SIGNER.public_key)


def test_every_truncation_and_addition_is_found() -> None:
    data = signed().to_bytes()
    for changed in [*(data[:length] for length in range(len(data))), data + b" ", b" " + data, data * 2]:
        with pytest.raises(AuditError):
            verify_receipt(changed, SIGNER.public_key)


@pytest.mark.parametrize("name", sorted(CONTENT))
def test_field_of_another_receipt_is_found(name: str) -> None:
    other = "x" if isinstance(CONTENT[name], str) else None if name == "guarantee" else 7
    content = asdict(signed()) | {name: other}
    guarantee = content.pop("guarantee")
    forged = Receipt(**content, guarantee=guarantee and Guarantee(**guarantee))
    with pytest.raises(AuditError, match="signature"):
        verify_receipt(forged.to_bytes(), SIGNER.public_key)


def test_receipt_of_another_key_is_found() -> None:
    with pytest.raises(AuditError, match="another key"):
        verify_receipt(signed().to_bytes(), new_signer().public_key)


@pytest.mark.parametrize(
    "data", [b"", b"{}", b"[]", b"null", b"\xff", b"[" * 100_000, b'{"guarantee":1,"signature":2}']
)
def test_what_is_no_receipt_is_refused(data: bytes) -> None:
    with pytest.raises(AuditError, match="canonical"):
        verify_receipt(data, SIGNER.public_key)
