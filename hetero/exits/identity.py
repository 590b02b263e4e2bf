"""Which weights a file of exits belongs to: digests of a model's files, each computed once a process.

Knows files; knows nothing of what they hold.
"""

import hashlib
from functools import lru_cache
from pathlib import Path

_CHUNK_BYTES = 1 << 22


def weights_digest(folder: Path) -> str:
    """SHA-256 (hex, 32 digits) over the model's configuration, tokenizer and weights, all bytes of them."""
    files = [folder / "config.json", folder / "tokenizer.json", *sorted(folder.glob("*.safetensors"))]
    return _digest(tuple(file for file in files if file.is_file()))


def file_digest(path: Path) -> str:
    """SHA-256 (hex, 32 digits) of one file."""
    return _digest((path,))


def _digest(files: tuple[Path, ...]) -> str:
    stamps = tuple((str(file), file.stat().st_mtime_ns, file.stat().st_size) for file in files)
    return _digest_of(stamps)


@lru_cache(maxsize=64)
def _digest_of(stamps: tuple[tuple[str, int, int], ...]) -> str:
    found = hashlib.sha256()
    for name, _, size in stamps:
        found.update(f"{Path(name).name}:{size};".encode())
        with open(name, "rb") as file:
            while chunk := file.read(_CHUNK_BYTES):
                found.update(chunk)
    return found.hexdigest()[:32]
