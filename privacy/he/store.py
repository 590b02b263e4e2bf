"""Tenants' public keys on the gateway's disk: by tenant and by content, bounded for each tenant.

A tenant finds only what it sent itself. Bytes are checked against their digest when they are read back; what they mean
is the worker's to say.
"""

import hashlib
import json
import os
import shutil
import tempfile
import threading
import time
from pathlib import Path

from privacy.errors import EncryptionError
from privacy.he.keys import KeyBundle

_PARTS = ("context", "galois", "relinearisation")


class KeyStore:
    """Bundles in `folder` (None: a temporary one that `close` removes), at most `tenant_bytes` a tenant."""

    def __init__(self, folder: Path | None = None, tenant_bytes: int = 256 * 2**20, most_tenants: int = 1024) -> None:
        self._temporary = folder is None
        self._folder = folder or Path(tempfile.mkdtemp(prefix="hetero-keys-"))
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._tenant_bytes, self._most_tenants = tenant_bytes, most_tenants
        self._lock = threading.Lock()

    def name(self, tenant: str, digest: str) -> str:
        """What workers know the bundle by. Two tenants never share one."""
        return f"{hashlib.sha256(tenant.encode()).hexdigest()[:32]}/{_plain(digest)}"

    def has(self, tenant: str, digest: str) -> bool:
        """Whether the tenant's bundle is here; asking counts as using it."""
        try:
            _used_now(self._path(tenant, digest))
        except FileNotFoundError:
            return False
        return True

    def put(self, tenant: str, bundle: KeyBundle) -> None:
        """Keep a bundle; the tenant's least used ones make room. Raises EncryptionError where there is none."""
        if bundle.size_bytes > self._tenant_bytes:
            raise EncryptionError(
                f"the keys are larger than the {self._tenant_bytes // 2**20} MiB that a tenant may keep"
            )
        path = self._path(tenant, bundle.digest)
        with self._lock:
            self._room_for_tenant(path.parent)
            path.parent.mkdir(exist_ok=True, mode=0o700)
            self._make_room(path.parent, bundle.size_bytes)
            _write(path, bundle)

    def get(self, tenant: str, digest: str) -> KeyBundle:
        """The bundle. Raises EncryptionError where the tenant has none of that digest."""
        try:
            bundle = _read(self._path(tenant, digest))
        except (OSError, ValueError, KeyError):
            raise EncryptionError("the server does not have these keys, or no longer; send them again") from None
        if bundle.digest != digest:
            raise EncryptionError("the stored keys were changed; send them again")
        return bundle

    def close(self) -> None:
        """Remove a temporary folder; another one stays as it is."""
        if self._temporary:
            shutil.rmtree(self._folder, ignore_errors=True)

    def _path(self, tenant: str, digest: str) -> Path:
        return self._folder / self.name(tenant, digest)

    def _room_for_tenant(self, folder: Path) -> None:
        if not folder.exists() and sum(1 for _ in self._folder.iterdir()) >= self._most_tenants:
            raise EncryptionError("the server keeps the keys of as many tenants as it may; try again later")

    def _make_room(self, folder: Path, size: int) -> None:
        kept = sorted(folder.iterdir(), key=lambda path: path.stat().st_mtime)
        total = sum(path.stat().st_size for path in kept)
        while kept and total + size > self._tenant_bytes:
            oldest = kept.pop(0)
            total -= oldest.stat().st_size
            oldest.unlink()


def _plain(digest: str) -> str:
    """A digest as part of a path. Raises EncryptionError where it is none."""
    if len(digest) != 64 or not set(digest) <= set("0123456789abcdef"):
        raise EncryptionError("a key's name is its SHA-256 in lower-case hexadecimal")
    return digest


def _used_now(path: Path) -> None:
    """By the finest clock: the file system's own ticks every few milliseconds."""
    os.utime(path, ns=(time.time_ns(), time.time_ns()))


def _write(path: Path, bundle: KeyBundle) -> None:
    """Whole or not at all: written beside, then moved."""
    parts = [getattr(bundle, name) for name in _PARTS]
    head = json.dumps({"parameters": bundle.parameter_name, "sizes": [len(part) for part in parts]}).encode()
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=".", delete=False) as file:
        file.write(len(head).to_bytes(4, "big") + head + b"".join(parts))
    _used_now(Path(file.name))
    os.replace(file.name, path)


def _read(path: Path) -> KeyBundle:
    data = path.read_bytes()
    length = int.from_bytes(data[:4], "big")
    head, at, parts = json.loads(data[4 : 4 + length]), 4 + length, []
    for size in head["sizes"]:
        parts.append(data[at : at + size])
        at += size
    context, galois, relinearisation = parts
    return KeyBundle(head["parameters"], context, galois, relinearisation)
