"""Asks Linux to put the process's large memory on large pages, which an engine that streams its weights profits from:
a step at batch 1 reads every weight once, and with pages of 4 KiB it waits for page tables, most of all in a virtual
machine (a quarter of the step, measured; see `docs/benchmarks.md`).

Knows the kernel's answers about this process; knows nothing of engines. Elsewhere than on Linux it does nothing.
"""

import ctypes
import mmap
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np

#: Numbers of madvise(2); the second is synchronous and exists since Linux 6.1.
_MADV_HUGEPAGE, _MADV_COLLAPSE = 14, 25
_LARGE_PAGE_BYTES = 2 << 20
#: Only memory that is in use already: a sparse area, such as a heap that much was freed in, would grow by the rest.
_LEAST_RESIDENT_SHARE = 0.9
#: Of an entry of /proc/self/pagemap, whose bit 63 says whether its page is there.
_ENTRY_BYTES, _PRESENT = 8, np.uint64(63)


def use_large_pages() -> int:
    """Move private memory that fills large pages to such; best effort. Returns the bytes asked for."""
    if sys.platform != "linux":
        return 0
    madvise = ctypes.CDLL(None).madvise
    madvise.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
    full = [page for area in _areas(Path("/proc/self/smaps").read_text()) for page in _full_pages(*area)]
    for page in full:
        madvise(page, _LARGE_PAGE_BYTES, _MADV_HUGEPAGE)
        madvise(page, _LARGE_PAGE_BYTES, _MADV_COLLAPSE)
    return len(full) * _LARGE_PAGE_BYTES


def _areas(smaps: str) -> Iterator[tuple[int, int]]:
    """(begin, end), on borders of large pages, of writable private memory without a file that could fill one."""
    begin = end = 0
    for line in smaps.splitlines():
        key, *values = line.split()
        if not key.endswith(":"):
            begin, end = _aligned(*(int(address, 16) for address in key.split("-"))) if _is_private(values) else (0, 0)
        elif key == "Rss:" and end > begin and int(values[0]) * 1024 >= _LEAST_RESIDENT_SHARE * _LARGE_PAGE_BYTES:
            yield begin, end


def _full_pages(begin: int, end: int) -> list[int]:
    """Where large pages begin whose small pages are mostly resident; nowhere if the kernel will not tell."""
    small = mmap.PAGESIZE
    try:
        with open("/proc/self/pagemap", "rb") as pagemap:
            pagemap.seek(begin // small * _ENTRY_BYTES)
            entries = np.frombuffer(pagemap.read((end - begin) // small * _ENTRY_BYTES), np.uint64)
    except OSError:
        return []
    resident = (entries >> _PRESENT).reshape(-1, _LARGE_PAGE_BYTES // small).mean(axis=1)
    return [begin + int(i) * _LARGE_PAGE_BYTES for i in np.flatnonzero(resident >= _LEAST_RESIDENT_SHARE)]


def _is_private(values: list[str]) -> bool:
    """`values`: permissions, offset, device, inode and, for files and special areas, a name."""
    return values[0] == "rw-p" and (len(values) == 4 or values[4] == "[heap]")


def _aligned(begin: int, end: int) -> tuple[int, int]:
    return -(-begin // _LARGE_PAGE_BYTES) * _LARGE_PAGE_BYTES, end // _LARGE_PAGE_BYTES * _LARGE_PAGE_BYTES
