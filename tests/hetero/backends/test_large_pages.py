"""Large pages: which areas of a process are asked for, and that asking changes no byte."""

import ctypes
import mmap
import sys

import pytest

from hetero.backends.large_pages import _areas, _full_pages, use_large_pages

LARGE = 2 << 20
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


def test_large_pages_are_for_private_memory_alone() -> None:
    sparse, small = (0x7F0001000000, 0x7F0001800000), (0x7F0004000000, 0x7F0004200000)
    assert list(_areas(SMAPS)) == [(0x7F0000000000, 0x7F0000800000), sparse, (0x55E000000000, 0x55E000800000), small]


@pytest.mark.skipif(sys.platform != "linux", reason="Linux tells which pages are resident")
def test_an_area_that_is_used_in_part_gets_large_pages_for_that_part() -> None:
    memory = mmap.mmap(-1, 8 * LARGE, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    begin = -(-ctypes.addressof(ctypes.c_char.from_buffer(memory)) // LARGE) * LARGE
    offset = begin - ctypes.addressof(ctypes.c_char.from_buffer(memory))
    for page in (0, 3):
        memory[offset + page * LARGE : offset + (page + 1) * LARGE] = b"x" * LARGE
    memory[offset + 5 * LARGE] = 1
    assert _full_pages(begin, begin + 7 * LARGE) == [begin, begin + 3 * LARGE]


@pytest.mark.parametrize("size", [16 << 20])
def test_large_pages_keep_what_is_written(size: int) -> None:
    memory = mmap.mmap(-1, size, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) if sys.platform == "linux" else bytearray(size)
    pattern = bytes(range(256)) * (size // 256)
    memory[:] = pattern
    asked = use_large_pages()
    assert memory[:] == pattern
    assert asked >= size - (4 << 20) if sys.platform == "linux" else asked == 0
