"""Verifies an audit log offline: every link, every head's signature, and that nothing was cut off its end.

The end is known from FILE.head and from whatever head the verifier kept himself, as every receipt names one. Somebody
who restores the log, its head and the ledger together to an earlier state is found by such a head alone. A log that was
rotated is verified over all its segments (FILE.1, FILE.2 ..., FILE): each hands over to the next and its key.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from privacy.audit.reading import NANORHO, Walk, head_file_of, read_head_file, segment_file, walk
from privacy.audit.records import NO_LINE, Record, head_holds, parse_line
from privacy.errors import AuditError
from privacy.ledger.book import is_past

#: A log that grows while it is read may end within a write.
_TRIES = 5
_KEY_BYTES = 32


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether the log is whole, and if not, what was found first."""

    ok: bool
    #: Records whose chain holds, in all segments, heads among them.
    records: int
    #: Of the newest head; -1 and "" where there is none.
    head_seq: int
    head_digest: str
    problem: str
    #: rho that the log's charges come to, by account and window ("subject:a/b day:2026-01-31").
    spent_rho: dict[str, float]
    segments: int = 1


@dataclass(frozen=True, slots=True)
class _Segment:
    """One file of the log: what was found in it, and the key that its first line says signs it."""

    path: Path
    found: Walk
    key: bytes


def verify(path: Path, public_key: bytes, known_digest: str = "") -> Verdict:
    """Verify the log in a file, and the segments beside it, with the signer's 32 raw bytes of public key.

    Any key will do that ever signed the log: an older one vouches for the newer by its handover, a newer one for all
    before it by the chain. `known_digest` is the digest of a head that the log once had, as a receipt names it. Raises
    AuditError where a file cannot be read.
    """
    try:
        for _ in range(_TRIES):
            size_bytes = path.stat().st_size
            verdict = _read(path, public_key, known_digest)
            if verdict.ok or path.stat().st_size == size_bytes:
                break
    except OSError as reason:
        raise AuditError(f"The audit log {reason.filename or path} cannot be read: {reason.strerror}") from None
    return verdict


def _read(path: Path, public_key: bytes, known_digest: str) -> Verdict:
    first = _first_record(path)
    # The head first: a log that is being written then holds it already.
    witness = read_head_file(path, _key_of(first, public_key))
    number = first.fields.get("segment", 1) if first else 1
    older = [segment_file(path, each) for each in range(1, number)] if type(number) is int else []
    segments = [_walked(file, public_key, {witness, known_digest} - {""}) for file in (*older, path)]
    problem = next(_problems(segments, public_key, witness, known_digest), "")
    return _verdict(segments, problem)


def _first_record(path: Path) -> Record | None:
    with path.open("rb") as file:
        return parse_line(file.readline())


def _key_of(first: Record | None, usual: bytes) -> bytes:
    """The key that the first line of a segment names; `usual` where it names none."""
    named = first.fields.get("public_key") if first else None
    try:
        key = bytes.fromhex(named) if isinstance(named, str) else b""
    except ValueError:
        return usual
    return key if len(key) == _KEY_BYTES else usual


def _walked(path: Path, public_key: bytes, witnesses: set[str]) -> _Segment:
    key = _key_of(_first_record(path), public_key)
    with path.open("rb") as file:
        return _Segment(path, walk(file, lambda record: head_holds(record, key), witnesses), key)


def _problems(segments: list[_Segment], public_key: bytes, witness: str, known_digest: str) -> Iterator[str]:
    for each in segments:
        yield from _problem(each, several=len(segments) > 1)
    if all(each.key != public_key for each in segments):
        yield "The key that was given never signed this log"
    for before, after in pairwise(segments):
        yield from _broken_link(before, after)
    current, name = segments[-1], head_file_of(segments[-1].path).name
    if not witness:
        yield f"There is no head signed by that key in {name}: the log may have been cut back"
    elif witness not in current.found.seen:
        yield f"The head in {name} is not in the log: the log was cut back or replaced"
    if known_digest and not any(known_digest in each.found.seen for each in segments):
        yield "The head that was known before is not in the log: the log was cut back or replaced"


def _problem(segment: _Segment, several: bool) -> Iterator[str]:
    where, found = f"{segment.path.name}: " if several else "", segment.found
    if found.problem:
        yield where + found.problem
    elif found.head is None or found.end != found.head_end:
        yield f"{where}The last lines are covered by no signed head: an unfinished write, or an edit"


def _broken_link(before: _Segment, after: _Segment) -> Iterator[str]:
    """What is wrong between two segments: the handover, the digest, the number, or the sums that were carried."""
    told, genesis = before.found.hands_over, after.found.genesis
    if told.get("next_public_key") != after.key.hex() or told.get("next_segment") != after.found.segment:
        yield f"{before.path.name} does not hand over to {after.path.name} and its key"
    end = before.found.head.digest if before.found.head else NO_LINE
    if genesis.get("follows") != end or genesis.get("log") != before.found.log_id:
        yield f"{after.path.name} does not follow the end of {before.path.name}"
    if _due(before.found.spent, after) != _due(after.found.carried, after):
        yield f"{after.path.name} does not carry what was spent in {before.path.name}"


def _due(spent: dict[tuple[str, str], int], after: _Segment) -> dict[tuple[str, str], int]:
    """What a segment must carry: days that were over when it was written matter no more."""
    return {place: nano for place, nano in spent.items() if nano and not is_past(place[1], after.found.at_seconds)}


def _verdict(segments: list[_Segment], problem: str) -> Verdict:
    found, records = segments[-1].found, sum(each.found.lines for each in segments)
    spent = {" ".join(account): nanorho / NANORHO for account, nanorho in found.spent.items()}
    seq, digest = (found.head.seq, found.head.digest) if found.head else (-1, "")
    return Verdict(not problem, records, seq, digest, problem, spent, len(segments))
