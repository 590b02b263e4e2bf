"""Tracebacks without messages, for a process whose logs may not hold what a request held.

An unexpected error's text may quote the value that it stumbled over. Where the log's records come with an exception,
its class and the places in the code stay, its words go. Knows Python's logging only.
"""

import logging
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

_lock = threading.Lock()
#: How many blocks are open now: servers may end in another order than they began.
_open = 0
_plain = logging.getLogRecordFactory()


@contextmanager
def redacted_tracebacks() -> Iterator[None]:
    """For every logger of this process, until the last such block ends."""
    _count(1)
    try:
        yield
    finally:
        _count(-1)


def _count(change: int) -> None:
    global _open, _plain
    with _lock:
        if not _open:
            _plain = logging.getLogRecordFactory()
        _open += change
        logging.setLogRecordFactory(_redacting if _open else _plain)


def _redacting(*arguments: Any, **more: Any) -> logging.LogRecord:
    record = _plain(*arguments, **more)
    if isinstance(record.exc_info, tuple) and record.exc_info[1] is not None:
        record.exc_text = _places(record.exc_info[1])
        record.exc_info = None
    return record


def _places(error: BaseException) -> str:
    """The exception's class and where it came from, one line a frame."""
    frames = traceback.extract_tb(error.__traceback__)
    lines = [f"  {frame.filename}:{frame.lineno} in {frame.name}" for frame in frames]
    return "\n".join([f"{type(error).__name__} (its message is left out)", *lines])
