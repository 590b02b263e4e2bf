"""Walks an audit log from its first line: how far the chain holds, and what the charges in it come to.

Knows nothing of writing. Whether what was found is acceptable is for who asked: a start (`audit.opening`) may cut off
an unfinished write, a verification (`audit.verify`) may not.
"""

from collections import Counter
from collections.abc import Callable, Container, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from privacy.audit.records import (
    CARRIED,
    GENESIS,
    HANDOVER,
    HEAD,
    NO_LINE,
    Fields,
    Head,
    Record,
    digest_of,
    head_holds,
    parse_line,
)

#: Parts of 1 rho that are counted in.
NANORHO = 10**9
#: Kinds of records that change what an account has spent, with the sign of their "nanorho".
CHARGING = {CARRIED: 1, "reserve": 1, "lease": 1, "return": -1}
Spent = Counter[tuple[str, str]]


@dataclass(slots=True)
class Walk:
    """How far the chain holds. Lines after `head` hold in the chain, but no signature covers them."""

    #: What the first line says: the log's id, the segment's number, the end of the one before, and the key that signs.
    genesis: Fields = field(default_factory=dict)
    #: The last record that is no head: a segment that has a next one ends in a handover.
    last: Record | None = None
    #: Lines whose chain holds, heads among them.
    lines: int = 0
    #: Where they end, in bytes.
    end: int = 0
    digest: str = NO_LINE
    at_seconds: int = 0
    head: Head | None = None
    #: Where the head's line ends, in bytes: what lies beyond was never acknowledged.
    head_end: int = 0
    #: What is wrong with the first line that does not hold; "" if all do.
    problem: str = ""
    #: Which of the digests that were looked for are among them.
    seen: set[str] = field(default_factory=set)
    #: Spent by (account, window), in parts of 1e-9 rho, as of the head.
    spent: Spent = field(default_factory=Counter)
    #: What of it was spent before this segment began.
    carried: Spent = field(default_factory=Counter)
    _uncovered: Spent = field(default_factory=Counter)

    @property
    def log_id(self) -> str:
        return str(self.genesis.get("log", ""))

    @property
    def segment(self) -> int:
        number = self.genesis.get("segment", 1)
        return number if type(number) is int else 0

    @property
    def hands_over(self) -> Fields:
        """Whom the segment hands over to; nothing where it goes on."""
        return self.last.fields if self.last is not None and self.last.kind == HANDOVER else {}

    def take(self, line: bytes, believes: Callable[[Record], bool]) -> bool:
        """Add the next line; False where it does not hold."""
        record = parse_line(line)
        self.problem = self._problem(record) or self._false_head(record, believes)
        if self.problem or record is None:
            return False
        self._count(record, line)
        return True

    def _problem(self, record: Record | None) -> str:
        if record is None:
            return f"Line {self.lines + 1} is not a record in its canonical form"
        if record.seq != self.lines or record.previous != self.digest:
            return f"Line {self.lines + 1} does not follow the line before it"
        if record.at_seconds < self.at_seconds:
            return f"Line {self.lines + 1} was written before the line before it"
        if (record.kind == GENESIS) != (self.lines == 0):
            return f"Line {self.lines + 1} is not where a log begins"
        if record.kind in CHARGING and type(record.fields.get("nanorho")) is not int:
            return f"Line {self.lines + 1} charges no number"
        return ""

    def _false_head(self, record: Record | None, believes: Callable[[Record], bool]) -> str:
        if record is not None and record.kind == HEAD and not believes(record):
            return f"The head at line {self.lines + 1} is not signed by the key that was given"
        return ""

    def _count(self, record: Record, line: bytes) -> None:
        self.digest, offset = digest_of(line), self.end
        self.lines, self.end, self.at_seconds = self.lines + 1, self.end + len(line), record.at_seconds
        if record.kind == GENESIS:
            self.genesis = record.fields
        if record.kind in CHARGING:
            account = (str(record.fields.get("account", "")), str(record.fields.get("window", "")))
            self._uncovered[account] += CHARGING[record.kind] * int(record.fields.get("nanorho", 0))
            self.carried[account] += int(record.fields.get("nanorho", 0)) if record.kind == CARRIED else 0
        if record.kind != HEAD:
            self.last = record
        if record.kind == HEAD:
            self.head, self.head_end = Head(record.seq, self.digest, line, offset), self.end
            self.spent.update(self._uncovered)
            self._uncovered.clear()


def walk(lines: Iterable[bytes], believes: Callable[[Record], bool], witnesses: Container[str]) -> Walk:
    """Walk the lines until the first that does not hold, looking for digests of heads that are known from elsewhere."""
    found = Walk()
    for line in lines:
        if not found.take(line, believes):
            break
        if found.digest in witnesses:
            found.seen.add(found.digest)
    return found


def carried_records(spent: Mapping[tuple[str, str], int]) -> list[tuple[str, Fields]]:
    """What a new segment says of what was spent before it."""
    places = sorted(spent.items())
    return [(CARRIED, {"account": key, "window": window, "nanorho": nano}) for (key, window), nano in places if nano]


def segment_file(current: Path, number: int) -> Path:
    """Where a file of an earlier segment is kept: FILE.1, FILE.2 ..."""
    return current.with_name(f"{current.name}.{number}")


def head_file_of(log: Path) -> Path:
    """Where the newest head of a log is kept beside it."""
    return log.with_name(log.name + ".head")


def read_head_file(log: Path, public_key: bytes) -> str:
    """The digest of the head that is kept beside a log; "" where there is none that the key's owner signed."""
    try:
        line = head_file_of(log).read_bytes().rstrip(b" ")
    except OSError:
        return ""
    record = parse_line(line)
    return digest_of(line) if record is not None and head_holds(record, public_key) else ""
