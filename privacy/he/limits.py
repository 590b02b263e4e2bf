"""What a worker may use: memory, time, files, cores. Set in the worker on itself before it reads a byte."""

import os
import resource
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of one worker process.

    `memory_bytes` bounds its address space, `job_seconds` the CPU time of one job (the gateway kills it then),
    `key_bytes` what it keeps of tenants' keys as read. `cores` are those it may run on; empty: all. Workers yield to
    other work by `niceness`.
    """

    memory_bytes: int = 2 * 2**30
    job_seconds: float = 30.0
    start_seconds: float = 120.0
    key_bytes: int = 256 * 2**20
    upload_bytes: int = 128 * 2**20
    file_bytes: int = 256 * 2**20
    open_files: int = 64
    niceness: int = 10
    cores: tuple[int, ...] = ()


def confine(limits: Limits) -> None:
    """Put this process under `limits`, for good: they cannot be raised again."""
    for kind, most in (
        (resource.RLIMIT_AS, limits.memory_bytes),
        (resource.RLIMIT_FSIZE, limits.file_bytes),
        (resource.RLIMIT_NOFILE, limits.open_files),
        (resource.RLIMIT_CORE, 0),
    ):
        _, hard = resource.getrlimit(kind)
        bound = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(kind, (bound, bound))
    if limits.cores:
        os.sched_setaffinity(0, set(limits.cores))
    os.nice(limits.niceness)
