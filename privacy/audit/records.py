"""The audit log's lines: one canonical JSON object each, chained by SHA-256, with signed heads between them.

Every line names the digest of the line before it, so that one line commits to all before. A head is a line whose
signature is over itself. Knows the form of a line, and nothing of files.
"""

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass

from privacy.audit.signing import Signer, signature_holds
from privacy.errors import AuditError

_FIELD_TYPES = (str, int, float)
Fields = Mapping[str, str | int | float]

GENESIS = "genesis"
HEAD = "head"
#: Ends a segment of the log, and names the key that signs the next one.
HANDOVER = "handover"
#: What an account had spent when a segment of the log began.
CARRIED = "carried"
#: What the first line names as the line before it.
NO_LINE = "0" * 64
#: Longer texts are cut: a name of this length is no name, but may be content.
TEXT_LIMIT_CHARACTERS = 200
_PURPOSE = b"hetero audit head 1\n"
_KEYS = {"at", "fields", "kind", "prev", "seq"}


@dataclass(frozen=True, slots=True)
class Record:
    """One line: its number, when it was written (Unix seconds), what it tells, and the digest of the line before."""

    seq: int
    at_seconds: int
    kind: str
    fields: Fields
    previous: str

    def to_line(self) -> bytes:
        """The canonical form, with its line end."""
        return self._encoded(self.fields) + b"\n"

    def signed_part(self) -> bytes:
        """What a head's signature is over: its purpose, and all of it but the signature."""
        return _PURPOSE + self._encoded({})

    def _encoded(self, fields: Fields) -> bytes:
        content = {
            "at": self.at_seconds,
            "fields": dict(fields),
            "kind": self.kind,
            "prev": self.previous,
            "seq": self.seq,
        }
        return json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()


@dataclass(frozen=True, slots=True)
class Head:
    """A point of the log that was signed: the head's number, the digest of its line, and the line itself."""

    seq: int
    digest: str
    line: bytes
    #: Where the line starts in the log, in bytes.
    offset: int


def digest_of(line: bytes) -> str:
    """What the next line names this one by."""
    return hashlib.sha256(line).hexdigest()


def checked_fields(fields: Fields) -> dict[str, str | int | float]:
    """The fields as they may be written. Raises AuditError for anything but short texts and finite numbers."""
    for name, value in fields.items():
        if type(value) not in _FIELD_TYPES or (isinstance(value, float) and not math.isfinite(value)):
            raise AuditError(f"The audit field {name!r} is neither a text nor a finite number")
    return {name: value[:TEXT_LIMIT_CHARACTERS] if isinstance(value, str) else value for name, value in fields.items()}


def parse_line(line: bytes) -> Record | None:
    """The record of a line with its end, or None where the line is not exactly what `to_line` writes."""
    try:
        content = json.loads(line)
        if content.keys() != _KEYS:
            return None
        record = Record(content["seq"], content["at"], content["kind"], content["fields"], content["prev"])
        return record if record.to_line() == line and _types_hold(record) else None
    except (ValueError, TypeError, AttributeError, RecursionError):
        return None


def _types_hold(record: Record) -> bool:
    return (
        type(record.seq) is type(record.at_seconds) is int
        and isinstance(record.kind, str)
        and isinstance(record.previous, str)
        and all(type(value) in _FIELD_TYPES for value in record.fields.values())
    )


def signed_head(seq: int, at_seconds: int, previous: str, signer: Signer) -> Record:
    """A head that commits to the line whose digest is `previous`."""
    unsigned = Record(seq, at_seconds, HEAD, {}, previous)
    signature = signer.sign(unsigned.signed_part())
    return Record(seq, at_seconds, HEAD, {"signature": signature.hex()}, previous)


def head_holds(record: Record, public_key: bytes) -> bool:
    """Whether the record is a head that the key's owner signed."""
    signature = record.fields.get("signature")
    if record.kind != HEAD or record.fields.keys() != {"signature"} or not isinstance(signature, str):
        return False
    try:
        raw = bytes.fromhex(signature)
    except ValueError:
        return False
    return raw.hex() == signature and signature_holds(public_key, raw, record.signed_part())
