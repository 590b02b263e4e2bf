"""Large pages: which areas of a process are asked for, and that asking changes no byte."""

import mmap
import sys

import pytest

from hetero.backends.large_pages import _resident_areas, use_large_pages

SMAPS = """\
7f0000000000-7f0000800000 rw-p 00000000 00:00 0
Size:               8192 kB
Rss:                8000 kB
VmFlags: rd wr mr mw me ac sd
7f0001000000-7f0001800000 rw-p 00000000 00:00 0
Size:               8192 kB
Rss:                4096 kB
7f0002000000-7f0002800000 r--p 00000000 fe:00 12 /lib/weights.bin
Size:               8192 kB
Rss:                8192 kB
7f0003000000-7f0003800000 rw-s 00000000 00:01 13 /dev/zero (deleted)
Size:               8192 kB
Rss:                8192 kB
55e000000000-55e000800000 rw-p 00000000 00:00 0                          [heap]
Size:               8192 kB
Rss:                8192 kB
7ffc00000000-7ffc00800000 rw-p 00000000 00:00 0                          [stack]
Size:               8192 kB
Rss:                8192 kB
7f0004000000-7f0004200000 rw-p 00000000 00:00 0
Size:               2048 kB
Rss:                2048 kB
"""


def test_large_pages_are_for_used_private_memory_alone() -> None:
    assert list(_resident_areas(SMAPS)) == [(0x7F0000000000, 0x7F0000800000), (0x55E000000000, 0x55E000800000)]


@pytest.mark.parametrize("size", [16 << 20])
def test_large_pages_keep_what_is_written(size: int) -> None:
    memory = mmap.mmap(-1, size, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) if sys.platform == "linux" else bytearray(size)
    pattern = bytes(range(256)) * (size // 256)
    memory[:] = pattern
    asked = use_large_pages()
    assert memory[:] == pattern
    assert asked >= size - (4 << 20) if sys.platform == "linux" else asked == 0
