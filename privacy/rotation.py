"""Begins a new segment of the audit log, with the same signing key or a new one, while no server runs.

A segment ends in a record that hands over to the next one and to its key, signed by the old key. The next begins with
the digest of that end, signed by the new key, and carries what was spent. Older segments stay beside it as `FILE.1`,
`FILE.2` ..., with the public keys that they were signed by. One rename makes the new segment the log; a process that
dies before has changed nothing, and `finish_rotation` completes what one that died after it left.
"""

import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from privacy.audit.log import HEAD_FILE_BYTES, AuditLog
from privacy.audit.reading import carried_records, head_file_of, segment_file
from privacy.audit.records import GENESIS, HANDOVER, NO_LINE, Fields, Record, checked_fields, digest_of, signed_head
from privacy.audit.secret_files import sync_directory, write_secret
from privacy.audit.signing import Signer, load_signer, new_signer
from privacy.errors import AuditError
from privacy.ledger.book import is_past
from privacy.ledger.ledger import Ledger
from privacy.policy.types import State

_NEXT = ".next"


@dataclass(frozen=True, slots=True)
class Rotation:
    """The new segment's number, the file that the old one is kept in, and the key that signs from now on."""

    segment: int
    kept_file: Path
    public_key: bytes
    kept_public_key_file: Path


def rotate(state: State, *, new_key: bool) -> Rotation:
    """Hand over to a new segment. Raises AuditError or LedgerError where the state is held, broken or not begun."""
    finish_rotation(state)
    if not state.audit_file.exists():
        raise AuditError(f"There is no audit log {state.audit_file} to rotate; `hetero privacy init FILE` begins one")
    signer = load_signer(state.signing_key_file)
    following = new_signer() if new_key else signer
    with AuditLog(state.audit_file, signer) as log:
        with Ledger(state.ledger_file, log) as ledger:
            fields: Fields = {"next_public_key": following.public_key.hex(), "next_segment": log.segment + 1}
            ledger.note(HANDOVER, fields).result()
        _prepare(state, log, following, new_key)
        return _switch(state, log, following)


def finish_rotation(state: State) -> None:
    """Complete a rotation whose process died after its one decisive rename, and clear away one that died before."""
    undecided = _next_of(state.audit_file)
    if undecided.exists():
        for file in _others(state):
            _next_of(file).unlink(missing_ok=True)
        undecided.unlink()
        return
    for file in _others(state):
        with suppress(FileNotFoundError):
            _next_of(file).replace(file)


def _others(state: State) -> tuple[Path, ...]:
    """What belongs to the log and is renamed after it."""
    return head_file_of(state.audit_file), state.signing_key_file, state.public_key_file


def _next_of(file: Path) -> Path:
    return file.with_name(file.name + _NEXT)


def _prepare(state: State, log: AuditLog, following: Signer, new_key: bool) -> None:
    """Write everything under names that no start reads. The log comes first: while it lies there nothing is decided."""
    lines = _first_lines(log, following)
    write_secret(_next_of(state.audit_file), b"".join(lines), AuditError)
    write_secret(_next_of(head_file_of(state.audit_file)), lines[-1].ljust(HEAD_FILE_BYTES), AuditError)
    if new_key:
        write_secret(_next_of(state.signing_key_file), following.private_pem, AuditError)
        write_secret(_next_of(state.public_key_file), following.public_pem, AuditError)
        _next_of(state.public_key_file).chmod(0o644)


def _first_lines(log: AuditLog, signer: Signer) -> list[bytes]:
    at = log.at_seconds
    spent = {place: nanorho for place, nanorho in log.spent_on_opening.items() if not is_past(place[1], at)}
    entries = [(GENESIS, _genesis(log, signer)), *carried_records(spent)]
    lines: list[bytes] = []
    for seq, (kind, fields) in enumerate(entries):
        lines.append(Record(seq, at, kind, checked_fields(fields), _digest_of_last(lines)).to_line())
    return [*lines, signed_head(len(lines), at, _digest_of_last(lines), signer).to_line()]


def _genesis(log: AuditLog, signer: Signer) -> Fields:
    return {
        "log": log.log_id,
        "public_key": signer.public_key.hex(),
        "version": 1,
        "segment": log.segment + 1,
        "follows": log.head.digest,
    }


def _digest_of_last(lines: list[bytes]) -> str:
    return digest_of(lines[-1]) if lines else NO_LINE


def _switch(state: State, log: AuditLog, following: Signer) -> Rotation:
    kept, kept_key = segment_file(state.audit_file, log.segment), segment_file(state.public_key_file, log.segment)
    try:
        for file, name in ((state.audit_file, kept), (state.public_key_file, kept_key)):
            name.unlink(missing_ok=True)
            os.link(file, name)
        sync_directory(state.directory)
        _next_of(state.audit_file).replace(state.audit_file)
        sync_directory(state.directory)
    except OSError as reason:
        raise AuditError(f"The audit log {state.audit_file} cannot be rotated: {reason.strerror}") from None
    finish_rotation(state)
    return Rotation(log.segment + 1, kept, following.public_key, kept_key)
