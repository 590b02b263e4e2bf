"""The confined worker: what it may use, how it dies, how it is started again, what it refuses."""

import os
import signal
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from privacy.errors import EncryptionError
from privacy.he.client import Sealer
from privacy.he.keys import KeyBundle, SecretKeys
from privacy.he.limits import Limits
from privacy.he.planning import describe
from privacy.he.pool import WorkerPool
from privacy.he.process import LostWorkerError, WorkerProcess
from privacy.he.spec import ModelSpec, linear_spec
from privacy.he.transfer import spec_from_parts, spec_to_parts

SPEC = linear_spec("layer", np.arange(16.0).reshape(2, 8))
VECTOR = np.linspace(0, 1, 8)[None, :]


@pytest.fixture(scope="module")
def pool() -> Iterator[WorkerPool]:
    made = WorkerPool([SPEC], Limits(memory_bytes=2**30))
    yield made
    made.close()


@pytest.fixture(scope="module")
def sealer(keys_of: Callable[[str], SecretKeys]) -> Sealer:
    return Sealer(describe(SPEC), keys_of(SPEC.parameters))


@pytest.fixture(scope="module")
def bundle(sealer: Sealer) -> KeyBundle:
    return sealer.bundle()


def test_a_worker_computes_what_the_weights_say(pool: WorkerPool, sealer: Sealer, bundle: KeyBundle) -> None:
    applied = pool.apply(SPEC.digest, "keys", lambda: bundle, sealer.seal(VECTOR)[0])
    np.testing.assert_allclose(sealer.open([applied.answers], 1), SPEC.in_the_clear(VECTOR), atol=1e-4)
    assert 0 < applied.seconds < 10


def test_a_worker_asks_for_keys_once(pool: WorkerPool, sealer: Sealer, bundle: KeyBundle) -> None:
    asked = []

    def give() -> KeyBundle:
        asked.append(1)
        return bundle

    for _ in range(3):
        pool.apply(SPEC.digest, "asked-once", give, sealer.seal(VECTOR)[0])
    assert len(asked) == 1


def test_a_killed_worker_is_replaced(pool: WorkerPool, sealer: Sealer, bundle: KeyBundle) -> None:
    before, restarts = pool.pids, pool.restarts
    os.kill(before[0], signal.SIGKILL)
    with pytest.raises(LostWorkerError, match="started again"):
        pool.apply(SPEC.digest, "keys", lambda: bundle, sealer.seal(VECTOR)[0])
    assert pool.apply(SPEC.digest, "keys", lambda: bundle, sealer.seal(VECTOR)[0]).answers
    assert pool.restarts == restarts + 1 and pool.pids != before


def test_work_that_takes_too_long_ends_the_worker(bundle: KeyBundle) -> None:
    weight = np.random.default_rng(0).normal(size=(4000, 384))
    spec = linear_spec("slow", weight)
    pool = WorkerPool([spec], Limits(job_seconds=0.05))
    try:
        sealer = Sealer(describe(spec))
        keys, sealed = sealer.bundle(), sealer.seal(np.ones((1, 384)) / 384)
        before = pool.pids
        with pytest.raises(LostWorkerError, match="longer than its limit"):
            pool.apply(spec.digest, "keys", lambda: keys, sealed[0])
        assert before[0] not in pool.pids
    finally:
        pool.close()


def test_a_model_that_needs_more_memory_than_allowed_is_refused() -> None:
    spec = linear_spec("large", np.ones((8000, 384)))
    with pytest.raises(EncryptionError, match="allow more memory"):
        WorkerPool([spec], Limits(memory_bytes=256 * 2**20))


def test_memory_that_runs_out_ends_the_worker_and_nothing_else() -> None:
    """SEAL hangs or fails where its memory ends; either way the answer is a refusal within the time limit."""
    large = linear_spec("large", np.ones((8000, 384)))
    worker = WorkerProcess(Limits(memory_bytes=256 * 2**20, niceness=0))
    with pytest.raises(EncryptionError, match=r"more memory|ended|cannot be done"):
        worker.ask({"job": "model", "digest": large.digest}, spec_to_parts(large), 2.0)
    worker.close()


def test_a_worker_has_limits_and_nothing_of_the_gateways_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HETERO_GRPC_TOKEN", "a-secret-of-the-gateway")
    worker = WorkerProcess(Limits(memory_bytes=2**30, open_files=40, niceness=7))
    try:
        folder = Path(f"/proc/{worker.pid}")
        limits = folder.joinpath("limits").read_text()
        assert b"a-secret-of-the-gateway" not in folder.joinpath("environ").read_bytes()
        for name, value in (("Max address space", 2**30), ("Max open files", 40), ("Max core file size", 0)):
            line = next(line for line in limits.splitlines() if line.startswith(name))
            assert line.removeprefix(name).split()[:2] == [str(value), str(value)]
        assert os.getpriority(os.PRIO_PROCESS, worker.pid) - os.getpriority(os.PRIO_PROCESS, 0) in range(1, 8)
    finally:
        worker.close()


def test_a_worker_ends_with_its_gateway() -> None:
    """Where the gateway is killed, its socket closes, and no worker is left behind."""
    worker = WorkerProcess(Limits())
    worker._channel.shutdown(socket.SHUT_RDWR)
    until = time.monotonic() + 10
    while worker.is_alive and time.monotonic() < until:
        time.sleep(0.01)
    assert not worker.is_alive
    worker.close()


@pytest.mark.parametrize("job", ["", "eval", "model"])
def test_a_job_that_makes_no_sense_is_refused_and_survived(job: str) -> None:
    worker = WorkerProcess(Limits())
    try:
        with pytest.raises(EncryptionError, match="cannot be done"):
            worker.ask({"job": job, "digest": "x"}, [b"nonsense"])
        assert worker.ask({"job": "ping"})[0]["peak_bytes"] > 0
    finally:
        worker.close()


def test_old_keys_make_room_for_new_ones(sealer: Sealer, bundle: KeyBundle) -> None:
    pool = WorkerPool([SPEC], Limits(key_bytes=int(2.5 * 2 * len(bundle.galois))))
    asked: list[str] = []

    def give(name: str) -> Callable[[], KeyBundle]:
        return lambda: (asked.append(name), bundle)[1]

    try:
        for name in ("a", "b", "a", "c", "a", "b"):
            pool.apply(SPEC.digest, name, give(name), sealer.seal(VECTOR)[0])
        assert asked == ["a", "b", "c", "b"]
    finally:
        pool.close()


def test_a_closed_pool_refuses(sealer: Sealer, bundle: KeyBundle) -> None:
    pool = WorkerPool([SPEC])
    pids = pool.pids
    pool.close()
    with pytest.raises(EncryptionError):
        pool.apply(SPEC.digest, "keys", lambda: bundle, sealer.seal(VECTOR)[0])
    assert not any(Path(f"/proc/{pid}").exists() for pid in pids)


def test_a_models_weights_arrive_whole() -> None:
    for spec in (SPEC, ModelSpec("n", SPEC.kind, SPEC.layers, (), ("a", "b"), SPEC.parameters)):
        assert spec_from_parts(spec_to_parts(spec)).digest == spec.digest
