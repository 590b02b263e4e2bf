"""The answers that were given, kept for identical retries: the newest ones, up to a number of bytes.

An answer that had to make room is drawn and charged anew when it is asked for again. For the one writer alone.
"""

from privacy.ledger.file import Change, LedgerFile

#: How full the room may be once something had to go.
_KEPT_SHARE = 0.9


class Answers:
    """Knows how many bytes are kept. A key that is stored twice counts twice until the next start."""

    def __init__(self, file: LedgerFile, limit_bytes: int) -> None:
        self._file, self._limit_bytes = file, limit_bytes
        self._bytes: int = file.rows("SELECT coalesce(sum(length(answer)), 0) FROM answers")[0][0]

    def adding(self, key: bytes, answer: bytes) -> list[Change]:
        """What keeps an answer. Of a key's answers the first stays."""
        self._bytes += len(answer)
        changes: list[Change] = [("INSERT OR IGNORE INTO answers (key, answer) VALUES (?, ?)", (key, answer))]
        return changes if self._bytes <= self._limit_bytes else [*self._making_room(), *changes]

    def _making_room(self) -> list[Change]:
        """Drop the oldest of those that are committed."""
        newest = None
        for number, size in self._file.rows("SELECT number, length(answer) FROM answers ORDER BY number"):
            if self._bytes <= self._limit_bytes * _KEPT_SHARE:
                break
            newest, self._bytes = number, self._bytes - size
        return [] if newest is None else [("DELETE FROM answers WHERE number <= ?", (newest,))]
