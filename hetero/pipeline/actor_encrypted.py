"""Encrypted stages as Ray actors: each on the CPU of its stage, with confined workers of its own that read ciphertexts.

`EncryptedActors` is what a gateway has in place of workers of its own process. What passes is ciphertexts, their
answers, and public keys; weights go once. Knows Ray and `privacy.he`'s workers; no tenant, and no secret.
"""

import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import ray
from ray.exceptions import RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from hetero.cluster import Node, living_nodes
from hetero.errors import ConfigurationError
from placement.types import Device, EncryptedStage
from privacy.errors import EncryptionError
from privacy.he.keys import KeyBundle
from privacy.he.limits import Limits
from privacy.he.pool import Applied, WorkerPool
from privacy.he.process import LostWorkerError
from privacy.he.spec import ModelSpec

_START_SECONDS = 180.0
_MISSING = "keys are missing"


class EncryptedActor:
    """Workers on one node. Errors are given and not raised, so that their sentences arrive as they are."""

    def __init__(self, specs: Sequence[ModelSpec], limits: Limits, count: int) -> None:
        self._pool: WorkerPool | None = None
        self._why = ""
        try:
            self._pool = WorkerPool(specs, limits, count)
        except EncryptionError as error:
            self._why = str(error)

    def start(self) -> tuple[int, ...] | str:
        """The actor's process and its workers', or why there are none."""
        return (os.getpid(), *self._pool.pids) if self._pool else self._why

    def accept(self, name: str, bundle: KeyBundle) -> EncryptionError | None:
        """Let a worker read the keys."""
        try:
            self._workers().accept(name, bundle)
        except EncryptionError as error:
            return error
        return None

    def apply(
        self, digest: str, name: str, bundle: KeyBundle | None, ciphertext: bytes
    ) -> Applied | EncryptionError | str:
        """The answers, or that the keys must come along."""

        def keys() -> KeyBundle:
            if bundle is None:
                raise _MissingKeysError
            return bundle

        try:
            return self._workers().apply(digest, name, keys, ciphertext)
        except _MissingKeysError:
            return _MISSING
        except EncryptionError as error:
            return error

    def _workers(self) -> WorkerPool:
        if self._pool is None:
            raise EncryptionError(self._why)
        return self._pool


class _MissingKeysError(Exception):
    """The worker lacks the tenant's keys."""


@dataclass(frozen=True, slots=True)
class _Placed:
    device: Device
    handle: Any


class EncryptedActors:
    """One actor for each device of `stages`, which holds the `specs` of its stages, in the same order as these.

    Raises ConfigurationError where a stage's node is not in the cluster or starts nothing, EncryptionError where a
    layer does not fit. An actor that dies is started again by Ray; the calls in it are lost.
    """

    def __init__(
        self,
        stages: Sequence[EncryptedStage],
        specs: Sequence[ModelSpec],
        limits: Limits | None = None,
        count: int = 1,
    ) -> None:
        self._limits = limits or Limits()
        self._by_digest: dict[str, _Placed] = {}
        self._actors: list[_Placed] = []
        self._started: list[tuple[int, ...]] = []
        nodes, pairs = living_nodes(), list(zip(stages, specs, strict=True))
        try:
            for device in dict.fromkeys(stage.device for stage in stages):
                own = [spec for stage, spec in pairs if stage.device == device]
                self._place(device, _node_of(device, nodes), own, count)
        except BaseException:
            self.close()
            raise

    @property
    def pids(self) -> tuple[int, ...]:
        """Processes of the actors and of the workers that they started with, each on its own node."""
        return tuple(pid for pids in self._started for pid in pids)

    def accept(self, name: str, bundle: KeyBundle) -> None:
        """Let one worker read the keys; others get them when they first need them. Raises EncryptionError."""
        refused = _get(self._actors[0], self._actors[0].handle.accept.remote(name, bundle), self._patience)
        if refused is not None:
            raise refused

    def apply(self, digest: str, name: str, bundle: Callable[[], KeyBundle], ciphertext: bytes) -> Applied:
        """The answers of the stage that holds the layer of this digest. Raises EncryptionError."""
        place = self._by_digest[digest]
        reply = _get(place, place.handle.apply.remote(digest, name, None, ciphertext), self._patience)
        if reply == _MISSING:
            reply = _get(place, place.handle.apply.remote(digest, name, bundle(), ciphertext), self._patience)
        if isinstance(reply, Applied):
            return reply
        raise reply if isinstance(reply, EncryptionError) else EncryptionError("the stage lost the keys; send again")

    def close(self) -> None:
        """End all actors; their workers end with them."""
        for place in self._actors:
            with suppress(RayError, ValueError):
                ray.kill(place.handle)
        self._actors = []

    @property
    def _patience(self) -> float:
        # Workers bound a job's CPU time by themselves; this ends the waiting for a node that is gone.
        return 20 * self._limits.job_seconds

    def _place(self, device: Device, node: Node, specs: Sequence[ModelSpec], count: int) -> None:
        actor: Any = ray.remote(EncryptedActor)
        options = {
            # Workers yield to all else, so that they ask for no core of their own.
            "num_cpus": 0,
            "max_concurrency": count + 1,
            "max_restarts": -1,
            "max_task_retries": 0,
            "scheduling_strategy": NodeAffinitySchedulingStrategy(node.id, soft=False),
        }
        place = _Placed(device, actor.options(**options).remote(list(specs), self._limits, count))
        self._actors.append(place)
        started = _get(place, place.handle.start.remote(), _START_SECONDS)
        if isinstance(started, str):
            raise EncryptionError(started)
        self._started.append(started)
        self._by_digest.update({spec.digest: place for spec in specs})


def _get(place: _Placed, reference: Any, seconds: float) -> Any:
    try:
        return ray.get(reference, timeout=seconds)
    except RayError as error:
        raise LostWorkerError(
            f"the encrypted stage on {place.device.name} was lost ({type(error).__name__}); it is started again"
        ) from None


def _node_of(device: Device, nodes: Sequence[Node]) -> Node:
    for node in nodes:
        if node.id == device.node_id or (not device.node_id and node.name == device.node):
            return node
    raise ConfigurationError(f"the encrypted stage's {device.name} belongs to a node that is not in the cluster")
