"""Verifies an audit log offline: every link, every head's signature, and that nothing was cut off its end.

The end is known from FILE.head and from whatever head the verifier kept himself, as every receipt names one. Somebody
who restores the log, its head and the ledger together to an earlier state is found by such a head alone.
"""

from dataclasses import dataclass
from pathlib import Path

from privacy.audit.reading import NANORHO, Walk, head_file_of, read_head_file, walk
from privacy.audit.records import head_holds
from privacy.errors import AuditError

#: A log that grows while it is read may end within a write.
_TRIES = 5


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether the log is whole, and if not, what was found first."""

    ok: bool
    #: Records whose chain holds, heads among them.
    records: int
    #: Of the newest head; -1 and "" where there is none.
    head_seq: int
    head_digest: str
    problem: str
    #: rho that the log's charges come to, by account and window ("subject:a/b day:2026-01-31").
    spent_rho: dict[str, float]


def verify(path: Path, public_key: bytes, known_digest: str = "") -> Verdict:
    """Verify the log in a file with the signer's 32 raw bytes of public key.

    `known_digest` is the digest of a head that the log once had, as a receipt names it. Raises AuditError where the
    file cannot be read.
    """
    try:
        for _ in range(_TRIES):
            size_bytes = path.stat().st_size
            verdict = _read(path, public_key, known_digest)
            if verdict.ok or path.stat().st_size == size_bytes:
                break
    except OSError as reason:
        raise AuditError(f"The audit log {path} cannot be read: {reason.strerror}") from None
    return verdict


def _read(path: Path, public_key: bytes, known_digest: str) -> Verdict:
    # The head first: a log that is being written then holds it already.
    witness = read_head_file(path, public_key)
    with path.open("rb") as file:
        found = walk(file, lambda record: head_holds(record, public_key), {witness, known_digest} - {""})
    return _verdict(found, _problem(path, found, witness, known_digest))


def _problem(path: Path, found: Walk, witness: str, known_digest: str) -> str:
    if found.problem:
        return found.problem
    if found.head is None or found.end != found.head_end:
        return "The last lines are covered by no signed head: an unfinished write, or an edit"
    if not witness:
        return f"There is no head signed by that key in {head_file_of(path).name}: the log may have been cut back"
    if witness not in found.seen:
        return f"The head in {head_file_of(path).name} is not in the log: the log was cut back or replaced"
    if known_digest and known_digest not in found.seen:
        return "The head that was known before is not in the log: the log was cut back or replaced"
    return ""


def _verdict(found: Walk, problem: str) -> Verdict:
    spent = {" ".join(account): nanorho / NANORHO for account, nanorho in found.spent.items()}
    seq, digest = (found.head.seq, found.head.digest) if found.head else (-1, "")
    return Verdict(not problem, found.lines, seq, digest, problem, spent)
