"""The tenant's secret key is with the tenant alone: not on the wire, not in the server's processes, files or logs.

The server runs in processes of its own; what passes to it is recorded, and its memory is read while it serves.
"""

import json
import os
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from hetero.client_encrypted import EncryptedClient
from privacy.he.files import save_spec
from privacy.he.keys import SecretKeys
from privacy.he.sealing import to_bytes
from privacy.he.spec import Kind, linear_spec

_WINDOW_BYTES = 48
_READ_BYTES = 8 << 20


def windows_of(keys: SecretKeys) -> list[bytes]:
    """Pieces of the secret key as it lies in memory, and as SEAL would write it; each is there nowhere by chance."""
    secret = keys._tenseal.secret_key().data
    words = [secret.data().data(place) for place in range(8 * 1024)]
    raw, written = struct.pack(f"<{len(words)}Q", *words), to_bytes(secret)
    places = range(256, min(len(raw), len(written)) - _WINDOW_BYTES, 6000)
    return [whole[at : at + _WINDOW_BYTES] for whole in (raw, written) for at in places]


def found_in(pid: int, pieces: list[bytes]) -> int:
    """How many pieces a process has in its memory."""
    count = 0
    with open(f"/proc/{pid}/mem", "rb", 0) as memory:
        for start, end in regions(pid):
            for at in range(start, end, _READ_BYTES):
                try:
                    memory.seek(at)
                    data = memory.read(min(end - at, _READ_BYTES) + _WINDOW_BYTES)
                except (OSError, ValueError):
                    break
                count += sum(data.count(piece) for piece in pieces)
    return count


def regions(pid: int) -> Iterator[tuple[int, int]]:
    """What is readable and in use of a process's memory, but for what files of code and data have given to it.

    Pages that nothing was ever written to hold nothing, and pages of a file that cannot be written hold the file.
    """
    place, rights, inode = (0, 0), "", "0"
    for line in Path(f"/proc/{pid}/smaps").read_text().splitlines():
        first, *rest = line.split()
        if "-" in first and not first.endswith(":"):
            start, end = first.split("-")
            place, rights, inode = (int(start, 16), int(end, 16)), rest[0], rest[3]
        elif first in ("Rss:", "Swap:") and int(rest[0]) and "r" in rights and ("w" in rights or inode == "0"):
            yield place
            rights = ""  # once is enough


@pytest.fixture
def server(tmp_path: Path) -> Iterator[tuple[subprocess.Popen[str], dict[str, object]]]:
    head = linear_spec("head", np.random.default_rng(0).normal(size=(2, 64)), kind=Kind.CLASSIFY)
    save_spec(tmp_path / "head.safetensors", head)
    command = [sys.executable, "-m", "hetero", "private", "serve", "--head", str(tmp_path / "head.safetensors")]
    command += ["--state", str(tmp_path / "state"), "--queries", "0", "--grpc-port", "0", "--json"]
    with open(tmp_path / "log", "w") as log:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True)
        try:
            assert process.stdout is not None
            yield process, json.loads(process.stdout.readline())
        finally:
            process.terminate()
            assert process.wait(30) == 0


def test_the_secret_key_is_nowhere_on_the_servers_side(
    server: tuple[subprocess.Popen[str], dict[str, object]], recording_door: ModuleType, tmp_path: Path
) -> None:
    process, said = server
    port = int(str(said["address"]).rpartition(":")[2])
    with recording_door.Door(port) as door, EncryptedClient(f"localhost:{door.port}", timeout=60) as client:
        model = client.model("head")
        for _ in range(3):
            model(np.ones((4, 64)) / 64)
        pieces = windows_of(model.keys)
        assert found_in(os.getpid(), pieces) > 10, "the search would not find a key that is there"
        workers = said["workers"]
        assert isinstance(workers, list) and workers
        assert [found_in(pid, pieces) for pid in (process.pid, *workers)] == [0] * (1 + len(workers))
        assert len(door.sent) > 300_000
        assert not any(piece in way for piece in pieces for way in (bytes(door.sent), bytes(door.received)))
        # What did go over is where it should be: the search sees the server's side as well.
        public = model.prepare().galois[5000 : 5000 + _WINDOW_BYTES]
        assert bytes(door.sent).count(public) == 1
    kept = [path for path in (tmp_path / "state").rglob("*") if path.is_file()]
    written = [path.read_bytes() for path in (*kept, tmp_path / "log")]
    assert kept and not any(piece in data for piece in pieces for data in written)
