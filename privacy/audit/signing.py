"""Ed25519 keys (RFC 8032) that sign the audit log's heads and the receipts: made, stored as PEM, used.

The private key is a file of mode 0600; the public one lies beside it for whoever verifies. Knows nothing of what is
signed: whoever signs prefixes what the signature is for.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from privacy.audit.secret_files import read_secret, write_secret
from privacy.errors import AuditError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey


class Signer:
    """Signs with one private key. Safe to use from several threads."""

    def __init__(self, key: Ed25519PrivateKey) -> None:
        self._key = key
        #: The 32 raw bytes of the public key.
        self.public_key: bytes = key.public_key().public_bytes_raw()

    def sign(self, data: bytes) -> bytes:
        """The signature's 64 bytes."""
        return self._key.sign(data)

    @property
    def public_pem(self) -> bytes:
        from cryptography.hazmat.primitives import serialization as forms

        return self._key.public_key().public_bytes(forms.Encoding.PEM, forms.PublicFormat.SubjectPublicKeyInfo)

    @property
    def private_pem(self) -> bytes:
        from cryptography.hazmat.primitives import serialization as forms

        return self._key.private_bytes(forms.Encoding.PEM, forms.PrivateFormat.PKCS8, forms.NoEncryption())


def new_signer() -> Signer:
    """A signer with a fresh key that is stored nowhere."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    return Signer(Ed25519PrivateKey.generate())


def create_signer(key_file: Path, public_file: Path) -> Signer:
    """Make a key pair and store it. Raises AuditError where the key's file exists or cannot be written."""
    signer = new_signer()
    write_secret(key_file, signer.private_pem, AuditError)
    try:
        public_file.write_bytes(signer.public_pem)
    except OSError as reason:
        raise AuditError(f"The public key cannot be written to {public_file}: {reason.strerror}") from None
    return signer


def load_signer(key_file: Path) -> Signer:
    """The signer of a stored key. Raises AuditError where the file is missing, open to others, or no Ed25519 key."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    pem = read_secret(key_file, AuditError)
    try:
        key = load_pem_private_key(pem, password=None)
    except (ValueError, TypeError):
        raise AuditError(f"The signing key {key_file} is not a private key in PEM without a password") from None
    if not isinstance(key, Ed25519PrivateKey):
        raise AuditError(f"The signing key {key_file} is not an Ed25519 key")
    return Signer(key)


def load_public_key(file: Path) -> bytes:
    """The 32 raw bytes of a stored public key. Raises AuditError where there is none."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    try:
        key = load_pem_public_key(file.read_bytes())
    except OSError as reason:
        raise AuditError(f"The public key {file} cannot be read: {reason.strerror}") from None
    except ValueError:
        raise AuditError(f"The public key {file} is not a public key in PEM") from None
    if not isinstance(key, Ed25519PublicKey):
        raise AuditError(f"The public key {file} is not an Ed25519 key")
    return key.public_bytes_raw()


def signature_holds(public_key: bytes, signature: bytes, data: bytes) -> bool:
    """Whether the signature is of these bytes by the owner of that key."""
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    try:
        Ed25519PublicKey.from_public_bytes(public_key).verify(signature, data)
    except (InvalidSignature, ValueError):
        return False
    return True
