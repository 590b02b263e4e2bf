"""Asks Linux to put the process's large memory on large pages, which an engine that streams its weights profits from:
a step at batch 1 reads every weight once, and with pages of 4 KiB it waits for page tables, most of all in a virtual
machine (a quarter of the step, measured; see `docs/benchmarks.md`).

Knows the kernel's answers about this process; knows nothing of engines. Elsewhere than on Linux it does nothing.
"""

import ctypes
import sys
from collections.abc import Iterator
from pathlib import Path

#: Numbers of madvise(2); the second is synchronous and exists since Linux 6.1.
_MADV_HUGEPAGE, _MADV_COLLAPSE = 14, 25
_LARGE_PAGE_BYTES = 2 << 20
#: Only memory that is in use already: a sparse area would grow by what it does not use.
_LEAST_RESIDENT_SHARE = 0.9


def use_large_pages() -> int:
    """Move private memory in areas of several MiB to large pages; best effort. Returns the bytes asked for."""
    if sys.platform != "linux":
        return 0
    areas = [_aligned(*area) for area in _resident_areas(Path("/proc/self/smaps").read_text())]
    madvise = ctypes.CDLL(None).madvise
    madvise.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
    for begin, end in areas:
        madvise(begin, end - begin, _MADV_HUGEPAGE)
        madvise(begin, end - begin, _MADV_COLLAPSE)
    return sum(end - begin for begin, end in areas)


def _resident_areas(smaps: str) -> Iterator[tuple[int, int]]:
    """(begin, end) of writable private memory without a file that is mostly resident and holds a large page."""
    begin = end = 0
    for line in smaps.splitlines():
        key, *values = line.split()
        if not key.endswith(":"):
            begin, end = (int(address, 16) for address in key.split("-")) if _is_private(values) else (0, 0)
        elif key == "Rss:" and _is_worth_it(end - begin, int(values[0]) * 1024):
            yield begin, end


def _is_worth_it(size: int, resident: int) -> bool:
    return size >= 2 * _LARGE_PAGE_BYTES and resident >= _LEAST_RESIDENT_SHARE * size


def _is_private(values: list[str]) -> bool:
    """`values`: permissions, offset, device, inode and, for files and special areas, a name."""
    return values[0] == "rw-p" and (len(values) == 4 or values[4] == "[heap]")


def _aligned(begin: int, end: int) -> tuple[int, int]:
    return -(-begin // _LARGE_PAGE_BYTES) * _LARGE_PAGE_BYTES, end // _LARGE_PAGE_BYTES * _LARGE_PAGE_BYTES
