"""How fast this machine reads its memory: the bound of decoding at batch 1, which reads every weight for each token.

Knows arrays only. Method: the best of several sums over an array that no cache holds, by all threads.
"""

import time
from collections.abc import Callable

import torch

ARRAY_BYTES = 2**29
REPEATS = 5


def read_bytes_per_second(array_bytes: int = ARRAY_BYTES, repeats: int = REPEATS) -> float:
    """Bytes per second of the fastest reading pass over `array_bytes`, out of `repeats` with each of two kernels."""
    array = torch.ones(array_bytes // 4)
    half = array.numel() // 2
    kernels: tuple[Callable[[], object], ...] = (lambda: array.sum(), lambda: torch.dot(array[:half], array[half:]))
    return array_bytes / min(_seconds(kernel) for kernel in kernels for _ in range(repeats))


def _seconds(kernel: Callable[[], object]) -> float:
    started_at = time.perf_counter()
    kernel()
    return time.perf_counter() - started_at
