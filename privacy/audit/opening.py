"""What an audit log is found in when a process starts: new, whole, ending in an unfinished write, or not believable.

An unfinished write was acknowledged to nobody: it is cut off, and the cut is recorded. Anything else that does not hold
is refused, for what was spent could not be known.
"""

import hashlib
import os
import secrets
from dataclasses import dataclass
from pathlib import Path

from privacy.audit.reading import Walk, head_file_of, read_head_file, walk
from privacy.audit.records import GENESIS, HEAD, NO_LINE, Fields, Head, head_holds, parse_line
from privacy.errors import AuditError

#: A log of no more lines than this was just begun: the first line and its head.
_LINES_OF_A_NEW_LOG = 2
_BEFORE_THE_FIRST = Head(-1, NO_LINE, b"", 0)


@dataclass(frozen=True, slots=True)
class Opening:
    """Where to go on from: after `head`, which ends at byte `end`, with `first_record` of this start."""

    log_id: str
    segment: int
    #: The digest of the end of the segment before this one; "" for the first.
    follows: str
    is_new: bool
    head: Head
    end: int
    at_seconds: int
    spent: dict[tuple[str, str], int]
    first_record: tuple[str, Fields]


def opened(path: Path, descriptor: int, public_key: bytes) -> Opening:
    """Read the log, cut off an unfinished write. Raises AuditError where the log cannot be believed."""
    witness = read_head_file(path, public_key)
    with path.open("rb") as file:
        found = walk(file, lambda record: True, {witness})
    if not witness and found.segment == 1 and found.lines <= _LINES_OF_A_NEW_LOG and _begun_only(path):
        return _new(descriptor, public_key)
    _check_whole(path, found, witness, public_key)
    return _continued(path, descriptor, found, public_key)


def _begun_only(path: Path) -> bool:
    """Whether the log holds nothing that anyone was told of: its head file is written last."""
    with path.open("rb") as file:
        return len(file.readlines()) <= _LINES_OF_A_NEW_LOG


def _new(descriptor: int, public_key: bytes) -> Opening:
    os.ftruncate(descriptor, 0)
    log_id = secrets.token_hex(16)
    first: Fields = {"log": log_id, "public_key": public_key.hex(), "version": 1}
    return Opening(log_id, 1, "", True, _BEFORE_THE_FIRST, 0, 0, {}, (GENESIS, first))


def _check_whole(path: Path, found: Walk, witness: str, public_key: bytes) -> None:
    problem = f": {found.problem}" if found.problem else ""
    if not witness:
        raise AuditError(
            f"The audit log {path} lacks its head in {head_file_of(path).name}, or another key signed it: restore that "
            f"file or the key; a log that is known to be whole gets it back by: tail -n 1 {path.name}"
        )
    if witness not in found.seen:
        raise AuditError(f"The audit log {path} was changed or cut back{problem}; restore the newest copy of it")
    last = parse_line(found.head.line) if found.head else None
    if last is None or not head_holds(last, public_key):
        raise AuditError(f"The audit log {path} ends in a head that the signing key did not sign; restore a copy")


def _continued(path: Path, descriptor: int, found: Walk, public_key: bytes) -> Opening:
    assert found.head is not None
    tail = os.pread(descriptor, os.fstat(descriptor).st_size - found.head_end, found.head_end)
    if any(_is_signed(line, public_key) for line in tail.splitlines(keepends=True)):
        raise AuditError(f"The audit log {path} was changed: {found.problem}, but signed heads come after it")
    if tail:
        os.ftruncate(descriptor, found.head_end)
        os.fsync(descriptor)
    first: Fields = {"cut_bytes": len(tail), "cut_sha256": hashlib.sha256(tail).hexdigest()}
    follows, end = str(found.genesis.get("follows", "")), found.head_end
    spent = dict(found.spent)
    return Opening(
        found.log_id, found.segment, follows, False, found.head, end, found.at_seconds, spent, ("opened", first)
    )


def _is_signed(line: bytes, public_key: bytes) -> bool:
    record = parse_line(line)
    return record is not None and record.kind == HEAD and head_holds(record, public_key)
