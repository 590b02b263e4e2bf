"""Holds a slice's matrices in a file without a name while OpenVINO compiles them, so that they can leave memory after.

OpenVINO packs the matrices for its kernels and keeps what it was given beside them, for as long as the compiled model
lives. In a mapped file those originals cost no resident memory once they have been packed: the pages go back to the
system and are read again from the file, should the engine ever want them.

Knows modules and files; knows nothing of the engine.
"""

import ctypes
import mmap
import os
import tempfile
from contextlib import suppress

import torch
from torch import nn

from hetero.backends.large_pages import use_large_pages

#: A slice with fewer bytes than this is worth neither a file nor large pages.
SMALL_BYTES = 16 << 20


class ScratchWeights:
    """The matrices of one slice in a file that disappears with the process."""

    def __init__(self, module: nn.Module) -> None:
        parameters = [p for p in module.parameters() if p.ndim == 2]
        self._total = sum(_aligned(p.nbytes) for p in parameters)
        self._map = _map_file(self._total) if self._total >= SMALL_BYTES else None
        if self._map is not None:
            _move(parameters, self._map)

    def release(self) -> None:
        """Give the originals' memory back, and put the engine's copy on large pages. Called once it has packed them."""
        if self._map is not None and hasattr(mmap, "MADV_DONTNEED"):
            self._map.madvise(mmap.MADV_DONTNEED)
        if self._total >= SMALL_BYTES:
            _return_freed_memory()
            use_large_pages()


def _return_freed_memory() -> None:
    """What loading and packing have freed lies in the C library's heap, resident: as much as the weights again."""
    with suppress(AttributeError):  # of glibc alone
        ctypes.CDLL(None).malloc_trim(0)


def _map_file(size: int) -> mmap.mmap | None:
    """None where the temporary folder has no room: the matrices then stay where they are, in memory."""
    try:
        with tempfile.TemporaryFile() as file:
            _reserve(file.fileno(), size)
            return mmap.mmap(file.fileno(), size)
    except OSError:
        return None


def _reserve(descriptor: int, size: int) -> None:
    """Take the room now: a full disk found while writing through the map would kill the process."""
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(descriptor, 0, size)
    else:
        os.truncate(descriptor, size)


def _move(parameters: list[nn.Parameter], target: mmap.mmap) -> None:
    """One after another, so that no more than one matrix is there twice."""
    offset = 0
    for parameter in parameters:
        place = torch.frombuffer(target, dtype=parameter.dtype, count=parameter.numel(), offset=offset)
        parameter.data = place.view(parameter.shape).copy_(parameter.data)
        offset += _aligned(parameter.nbytes)


def _aligned(size: int) -> int:
    return -(-size // mmap.PAGESIZE) * mmap.PAGESIZE
