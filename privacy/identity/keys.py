"""API keys: a long random string that a tenant sends, of which the server keeps a hash alone.

A key has 256 random bits, so that one round of SHA-256 is enough to keep it secret: there is nothing to guess that a
slow hash would protect. Each line of the file is ``HASH TENANT [SUBJECT]``; who reads it can use none of the keys.
"""

import hashlib
import hmac
import secrets
from collections.abc import Mapping
from pathlib import Path

from privacy.errors import CredentialError, PolicyError
from privacy.identity.files import read_trusted
from privacy.identity.identifier import Presented
from privacy.types import Principal

PREFIX = "hk_"
_KEY_BYTES = 32
MAX_KEY_CHARACTERS = 256


class ApiKeyCheck:
    """Looks keys up by their hash, in a time that does not depend on how much of one is right."""

    def __init__(self, holders: Mapping[str, Principal]) -> None:
        self._holders = tuple((bytes.fromhex(digest), principal) for digest, principal in holders.items())

    def __call__(self, presented: Presented) -> Principal | None:
        """None where no key is sent. Raises CredentialError where it is not known."""
        if not presented.api_keys:
            return None
        digest = hashlib.sha256(presented.api_keys[0][: MAX_KEY_CHARACTERS + 1].encode()).digest()
        found = [principal for known, principal in self._holders if hmac.compare_digest(known, digest)]
        if not found:
            raise CredentialError("the API key is not known; ask the server's operator for one")
        return found[0]


def make_key() -> str:
    """A fresh key, to be told to the tenant once and kept nowhere else."""
    return PREFIX + secrets.token_urlsafe(_KEY_BYTES)


def hash_of(key: str) -> str:
    """What the server keeps of a key: SHA-256 in hexadecimal."""
    return hashlib.sha256(key.encode()).hexdigest()


def read_holders(path: Path) -> dict[str, Principal]:
    """The holders of a file of hashes, by hash; lines that are empty or begin with # say nothing.

    Raises PolicyError where the file cannot be read, or a line is not one.
    """
    try:
        lines = read_trusted(path).decode().splitlines()
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise PolicyError(f"the file of API keys {path.name} cannot be read: {reason}") from None
    entries = [(number, line.split()) for number, line in enumerate(lines, 1) if line.strip() and line[0] != "#"]
    holders = {words[0]: _holder(path, number, words) for number, words in entries}
    if len(holders) != len(entries):
        raise PolicyError(f"the file of API keys {path.name} has a hash twice; give every tenant a key of its own")
    return holders


def _holder(path: Path, number: int, words: list[str]) -> Principal:
    if not 2 <= len(words) <= 3 or len(words[0]) != 64 or set(words[0]) - set("0123456789abcdef"):
        raise PolicyError(f"line {number} of {path.name} must be a SHA-256, a tenant and perhaps a subject")
    return Principal(words[1], "api-key", words[2] if len(words) == 3 else None)
