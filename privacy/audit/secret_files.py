"""Files that hold a secret: created once, readable by their owner alone, never read when others may.

Knows nothing of what a secret is for.
"""

import os
import stat
from pathlib import Path

from privacy.errors import PrivacyError


def write_secret(path: Path, secret: bytes, error: type[PrivacyError]) -> None:
    """Write a new file of mode 0600, durably. Raises `error` where it exists already or cannot be written."""
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(secret)
            file.flush()
            os.fsync(file.fileno())
        sync_directory(path.parent)
    except OSError as reason:
        raise error(f"The secret file {path} cannot be written: {reason.strerror}") from None


def read_secret(path: Path, error: type[PrivacyError]) -> bytes:
    """The file's bytes. Raises `error` where it cannot be read, or where anyone but its owner may read it."""
    try:
        with path.open("rb") as file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            secret = file.read()
    except OSError as reason:
        raise error(f"The secret file {path} cannot be read: {reason.strerror}") from None
    if mode & 0o077:
        raise error(f"Others than its owner may use the secret file {path} (mode {mode:o}): replace it, chmod 600")
    return secret


def sync_directory(path: Path) -> None:
    """Make names that were created in a folder durable."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
