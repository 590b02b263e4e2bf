"""The id under which a caller knows its request: the one it sent in `x-request-id`, or one that the server makes."""

import uuid
from collections.abc import Iterable

REQUEST_ID_KEY = "x-request-id"
_MAX_CHARACTERS = 128


def request_id_of(metadata: Iterable[tuple[str, str | bytes]] | None) -> str:
    """The caller's id where it is printable and short, else a fresh one."""
    for key, value in metadata or ():
        if key == REQUEST_ID_KEY and _is_usable(value):
            return str(value)
    return uuid.uuid4().hex


def _is_usable(value: str | bytes) -> bool:
    return isinstance(value, str) and value.isprintable() and 0 < len(value) <= _MAX_CHARACTERS
