"""The audit log: an append-only file of chained records whose heads are signed, durable before an append returns.

One process holds it. The newest head is kept in FILE.head as well (and in the ledger), which is how a log that was cut
back is found. Knows the file; the form of a line is `audit.records`', what a log tells is `audit.reading`'s.
"""

import fcntl
import os
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from privacy.audit.opening import opened
from privacy.audit.reading import head_file_of
from privacy.audit.records import Fields, Head, Record, checked_fields, digest_of, signed_head
from privacy.audit.secret_files import sync_directory
from privacy.audit.signing import Signer
from privacy.errors import AuditError
from privacy.ledger.clock import steady_clock

#: A head's line fits one sector, so that it is overwritten whole or not at all.
HEAD_FILE_BYTES = 512


class AuditLog:
    """Appends records and signs heads. Safe to use from several threads, refused to a second process.

    Raises AuditError on opening where the log is held by another process, was cut back or changed, lacks its head, or
    was signed by another key; and for good once a write has failed.
    """

    def __init__(self, path: Path, signer: Signer, clock: Callable[[], float] = steady_clock) -> None:
        self.path, self._signer, self._clock = path, signer, clock
        self._lock = threading.Lock()
        self._broken = ""
        self._descriptor = _locked(path)
        try:
            self._start()
        except BaseException:
            os.close(self._descriptor)
            raise

    def _start(self) -> None:
        found = opened(self.path, self._descriptor, self._signer.public_key)
        self.log_id, self.segment, self.was_new = found.log_id, found.segment, found.is_new
        self._follows = found.follows
        #: What the log's charges came to on opening, by (account, window), in units of 1e-9 rho.
        self.spent_on_opening = found.spent
        #: The newest head.
        self.head: Head = found.head
        self._end, self._at_seconds = found.end, found.at_seconds
        self._head_descriptor = os.open(head_file_of(self.path), os.O_WRONLY | os.O_CREAT, 0o600)
        self.append_many([found.first_record])
        os.fsync(self._head_descriptor)
        sync_directory(self.path.parent)

    @property
    def at_seconds(self) -> int:
        """When the newest record was written, or now where that is later: this never goes back."""
        return max(self._at_seconds, int(self._clock()))

    def append(self, kind: str, fields: Fields) -> str:
        """Write one record durably, with a head. Returns its digest. Raises AuditError where it cannot be written."""
        return self.append_many([(kind, fields)])[0]

    def append_many(self, entries: Sequence[tuple[str, Fields]]) -> list[str]:
        """Write records with one head and one sync. Returns their digests."""
        with self._lock:
            if self._broken:
                raise AuditError(f"The audit log {self.path} could not be written and takes no more: {self._broken}")
            records = self._chained(entries)
            lines = [record.to_line() for record in records]
            self._write(lines)
            return self._advance(records, lines)

    def _chained(self, entries: Sequence[tuple[str, Fields]]) -> list[Record]:
        at, previous, records = self.at_seconds, self.head.digest, []
        for seq, (kind, fields) in enumerate(entries, self.head.seq + 1):
            records.append(Record(seq, at, kind, checked_fields(fields), previous))
            previous = digest_of(records[-1].to_line())
        return [*records, signed_head(self.head.seq + 1 + len(records), at, previous, self._signer)]

    def _write(self, lines: list[bytes]) -> None:
        try:
            _write_all(self._descriptor, b"".join(lines))
            os.fdatasync(self._descriptor)
            os.pwrite(self._head_descriptor, lines[-1].ljust(HEAD_FILE_BYTES), 0)
        except OSError as reason:
            # What part of it reached the disk is not known: the next start cuts it off or counts it.
            self._broken = f"{reason.strerror}; make room or mend the disk, and start again"
            raise AuditError(f"The audit log {self.path} cannot be written: {self._broken}") from None

    def _advance(self, records: list[Record], lines: list[bytes]) -> list[str]:
        digests = [digest_of(line) for line in lines]
        self._end += sum(map(len, lines))
        self._at_seconds = records[-1].at_seconds
        self.head = Head(records[-1].seq, digests[-1], lines[-1], self._end - len(lines[-1]))
        return digests[:-1]

    def holds(self, line: bytes, offset: int) -> bool:
        """Whether that line stands at that place of the log, or ends the segment that this one follows."""
        if not line:
            return False
        return digest_of(line) == self._follows or os.pread(self._descriptor, len(line), offset) == line

    def close(self) -> None:
        with self._lock:
            if not self._broken:
                os.fsync(self._head_descriptor)
                self._broken = "it was closed"
                os.close(self._head_descriptor)
                os.close(self._descriptor)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()


def _locked(path: Path) -> int:
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
    except OSError as reason:
        raise AuditError(f"The audit log {path} cannot be opened: {reason.strerror}") from None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        raise AuditError(f"The audit log {path} is held by another process: stop that one first") from None
    return descriptor


def _write_all(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]
