"""Receipts on the client's side: the one that came with an answer, and whether it belongs to that answer.

Knows the trailing metadata of calls and `privacy.audit.receipts`; a client without the server's public key keeps
receipts and believes nothing.
"""

import hashlib
import threading
from collections import deque
from collections.abc import Iterable
from typing import Protocol

from privacy.errors import AuditError

RECEIPT_KEY = "hetero-receipt-bin"


class Serializable(Protocol):
    """A generated message."""

    def SerializeToString(self, *, deterministic: bool = ...) -> bytes: ...


MessageList = list[Serializable] | deque[Serializable]


class Receipts:
    """The last receipt of each thread. With `public_key` (32 bytes of Ed25519) every answer must come with its own."""

    def __init__(self, public_key: bytes | None = None) -> None:
        self._public_key = public_key
        self._of_thread = threading.local()

    @property
    def last(self) -> bytes | None:
        """The receipt of this thread's last answer, as the server signed it; None where it came without."""
        found: bytes | None = getattr(self._of_thread, "receipt", None)
        return found

    def collect(self) -> "MessageList":
        """A list for the messages of a stream; it keeps none where nothing will be checked."""
        return [] if self._public_key is not None else deque(maxlen=0)

    def take(self, trailers: Iterable[tuple[str, str | bytes]] | None, answer: Iterable[Serializable]) -> None:
        """Keep what came with an answer, one or more messages.

        Raises AuditError where a key is known and the receipt is not this answer's.
        """
        found = next((value for key, value in trailers or () if key == RECEIPT_KEY), None)
        self._of_thread.receipt = found if isinstance(found, bytes) else None
        if self._public_key is not None:
            told = b"".join(message.SerializeToString(deterministic=True) for message in answer)
            _check(self._of_thread.receipt, told, self._public_key)


def _check(receipt: bytes | None, answer: bytes, public_key: bytes) -> None:
    from privacy.audit.receipts import verify_receipt

    if receipt is None:
        raise AuditError("the answer came without a receipt; the server is not the one whose key was given")
    if verify_receipt(receipt, public_key).answer_sha256 != hashlib.sha256(answer).hexdigest():
        raise AuditError("the receipt is for another answer; do not trust this one")
