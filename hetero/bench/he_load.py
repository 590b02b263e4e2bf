"""Whom encrypted work disturbs: plain requests' times and the event loop's stalls, in one server, in three parts.

Alone; beside a worker of another program, which computes the same on the same core, so that what this core, its memory
and its caches cost is known by itself; and beside encrypted work that this server is asked for. The server is this
process's, the plain requests come from a thread of it, the encrypted ones from another process, as tenants do; it
shares the worker's core, for a tenant's own computing is on a machine of its own.
"""

import asyncio
import multiprocessing
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from hetero.client import connect
from hetero.client_encrypted import EncryptedClient
from hetero.runtime import Runtime
from hetero.server.encrypted_service import Encrypted
from hetero.server.server import Server
from hetero.server.settings import ServerSettings
from privacy.he.client import Sealer
from privacy.he.gateway import Gateway, GatewaySettings
from privacy.he.limits import Limits
from privacy.he.packing import Floats
from privacy.he.planning import describe
from privacy.he.pool import WorkerPool
from privacy.he.spec import ModelSpec, linear_spec

_SAMPLE_SECONDS = 0.001
_TOKENS = 4
#: Ciphertexts a call: what a tenant with some texts sends.
_STREAM = 8
Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Part:
    """Plain requests in one part, and the longest time in which the server's loop ran nothing else."""

    name: str
    requests: int
    p50_seconds: float
    p99_seconds: float
    stall_seconds: float


@dataclass(frozen=True, slots=True)
class LoadReport:
    parts: tuple[Part, ...]
    #: Ciphertexts that were answered in the last part.
    encrypted: int

    @property
    def growth(self) -> float:
        """p99 beside encrypted work that is served over p99 beside the same work that is not."""
        return self.parts[2].p99_seconds / self.parts[1].p99_seconds


def run(seconds: float, tell: Tell = lambda text: None) -> LoadReport:
    """Serve the embedded model and a 384x384 layer, and measure for `seconds` in each part."""
    core = max(os.sched_getaffinity(0))
    bounds = GatewaySettings(queries_per_epoch=0, ciphertexts_per_second=0, limits=Limits(cores=(core,)))
    with ExitStack() as stack:
        runtime = stack.enter_context(Runtime("tiny", in_process=True, threads=1))
        gateway = stack.enter_context(closing(Gateway([_layer()], bounds)))
        server = stack.enter_context(Server(ServerSettings(port=0), encrypted=Encrypted(gateway)))
        server.attach(runtime)
        address = f"localhost:{server.port}"
        parts = []
        tell("plain requests alone")
        _plain(address, seconds / 5)
        parts.append(_part("nothing", server, address, seconds))
        tell("beside another program's worker")
        with _beside(_compute, core):
            parts.append(_part("another's worker", server, address, seconds))
        tell("beside encrypted work")
        with _beside(_encrypt, core, address) as answered:
            parts.append(_part("encrypted work", server, address, seconds))
        return LoadReport(tuple(parts), answered.value)


def _part(name: str, server: Server, address: str, seconds: float) -> Part:
    with _stalls(server) as stalls:
        times = _plain(address, seconds)
    return Part(name, len(times), float(np.median(times)), float(np.quantile(times, 0.99)), max(stalls, default=0.0))


def _plain(address: str, seconds: float) -> list[float]:
    """Seconds of plain completions, one after the other."""
    times, until = [], time.monotonic() + seconds
    with connect(address) as client:
        while time.monotonic() < until:
            began = time.perf_counter()
            client.generate("Once upon a time", max_tokens=_TOKENS, temperature=0.0, ignore_eos=True)
            times.append(time.perf_counter() - began)
    return times


@contextmanager
def _stalls(server: Server) -> Iterator[list[float]]:
    """How much later than asked a sleep on the server's loop ends, each time, while the block runs."""
    found: list[float] = []
    stop = threading.Event()

    async def watch() -> None:
        while not stop.is_set():
            began = time.perf_counter()
            await asyncio.sleep(_SAMPLE_SECONDS)
            found.append(time.perf_counter() - began - _SAMPLE_SECONDS)

    watching = asyncio.run_coroutine_threadsafe(watch(), server.loop)
    try:
        yield found
    finally:
        stop.set()
        watching.result()


@contextmanager
def _beside(work: Callable[..., None], core: int, *arguments: object) -> Iterator[Any]:
    """`work` in a process of its own on one core, from its first sign of life to the end of the block."""
    processes = multiprocessing.get_context("spawn")
    count = processes.Value("q", 0)
    process = processes.Process(target=work, args=(core, *arguments, count), daemon=True)
    process.start()
    try:
        while not count.value and process.is_alive():
            time.sleep(0.01)
        yield count
    finally:
        process.kill()
        process.join()


def _yielding(core: int) -> None:
    """As a worker does."""
    os.sched_setaffinity(0, {core})
    os.nice(Limits().niceness)


def _compute(core: int, count: Any) -> None:
    """The layer applied to one ciphertext after the other, by a worker that no server has."""
    _yielding(core)
    spec = _layer()
    sealer = Sealer(describe(spec))
    bundle, (sealed,) = sealer.bundle(), sealer.seal(_vector())
    with closing(WorkerPool([spec], Limits(cores=(core,)))) as pool:
        while True:
            pool.apply(spec.digest, bundle.digest, lambda: bundle, sealed)
            count.value += 1


def _encrypt(core: int, address: str, count: Any) -> None:
    """A tenant that sends a stream of ciphertexts, answered one after the other, and then the next stream."""
    _yielding(core)
    with EncryptedClient(address) as client:
        model = client.model("layer")
        keys = model.prepare().digest
        sealed = model.seal(_vector()) * _STREAM
        while True:
            client.send(model.description, keys, sealed)
            count.value += _STREAM


def _layer() -> ModelSpec:
    return linear_spec("layer", np.random.default_rng(0).normal(0, 384**-0.5, (384, 384)))


def _vector() -> Floats:
    return np.full((1, 384), 1 / 384)
