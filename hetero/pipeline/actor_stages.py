"""Starts the actors of a plan's stages, watches over them, and ends them.

Knows Ray and the order of a start; the links' sockets in the driver belong to `actor.py`.
"""

import time
from collections.abc import Callable, Sequence
from threading import Event, Thread
from typing import Any

import ray
from ray.exceptions import RayError

from hetero.backends.base import SliceReport, SliceSpec
from hetero.cluster import Node
from hetero.errors import ConfigurationError, StageLostError
from hetero.pipeline.actor_errors import reason, start_error
from hetero.pipeline.actor_places import NPU_RESOURCE, places
from hetero.pipeline.base import Progress, stage_label
from hetero.pipeline.link import LinkKeys
from hetero.pipeline.serving import StageServer
from placement.types import Plan

#: How long stages may take to finish what they have once told to stop, and their processes to end.
STOP_SECONDS = 3.0


class StageActors:
    """One actor a stage, all started at once; none outlives `end`, nor this process."""

    def __init__(
        self, plan: Plan, nodes: Sequence[Node], on_progress: Progress, server: type[StageServer] = StageServer
    ) -> None:
        self.labels = [stage_label(index, stage) for index, stage in enumerate(plan.stages)]
        self.places = places(plan, nodes)
        self._plan = plan
        self._progress = on_progress
        self._ending = Event()
        self._noticed = Event()
        self._serving: list[Any] = []
        self._watcher: Thread | None = None
        self._listening = False
        self.lost: str | None = None
        self.process_ids: tuple[int, ...] = ()
        actor: Any = ray.remote(server)
        self._handles: list[Any] = [actor.options(**place.options()).remote() for place in self.places]

    def wait_placed(self, timeout_seconds: float) -> None:
        """Wait until every actor runs. Raises ConfigurationError, saying what is asked for, if Ray finds no room."""
        for index in range(len(self._handles)):
            self._progress(index, "starting")
        pids = self._gather([handle.process_id.remote() for handle in self._handles], timeout_seconds)
        self.process_ids = tuple(pids)

    def load(self, specs: Sequence[SliceSpec]) -> tuple[SliceReport, ...]:
        """Compile all slices, side by side. Raises the first error of a stage as soon as it comes."""
        last = len(self._handles) - 1
        references = []
        for index, spec in enumerate(specs):
            self._progress(index, "loading")
            load = self._handles[index].load
            references.append(load.remote(spec, self._plan.stages[index].engine, index == 0, index == last))
        return tuple(self._gather(references, None, lambda index: self._progress(index, "ready")))

    def listen(self, keys: Sequence[LinkKeys | None]) -> list[str]:
        """Open every stage's inbound end and return the addresses."""
        self._listening = True
        calls = zip(self._handles, self.places, keys, strict=True)
        return self._gather([handle.listen.remote(place.node.address, key) for handle, place, key in calls], 30.0)

    def serve(self, addresses: Sequence[str], keys: Sequence[LinkKeys | None]) -> None:
        """Let every stage serve and send to its address; from now on `lost` says if one died."""
        calls = zip(self._handles, addresses, keys, strict=True)
        self._serving = [handle.serve.remote(address, key) for handle, address, key in calls]
        self._watcher = Thread(target=self._watch, name="stage-watcher", daemon=True)
        self._watcher.start()

    def _watch(self) -> None:
        pending = dict(zip(self._serving, self.labels, strict=True))
        while pending and not self._ending.is_set():
            done, _ = ray.wait(list(pending), num_returns=1, timeout=1.0)
            for reference in done:
                label, why = pending.pop(reference), _death(reference)
                # One that only lost its neighbour is not the one that died; that one's death comes too.
                if why and not self._ending.is_set():
                    self.lost = f"{label} was lost: {why}"
                    self._noticed.set()
                    return

    def loss(self, timeout_seconds: float) -> StageLostError:
        """The error that names the lost stage, as soon as Ray has told which one that is."""
        self._noticed.wait(timeout_seconds)
        return StageLostError(self.lost or f"one of {', '.join(self.labels)} was lost: it closed its link")

    def _gather(
        self, references: Sequence[Any], timeout_seconds: float | None, on_done: Callable[[int], None] | None = None
    ) -> list[Any]:
        """The values in the order of the stages; whichever fails first is raised first."""
        deadline = None if timeout_seconds is None else time.monotonic() + timeout_seconds
        values: dict[int, Any] = {}
        pending = list(references)
        while pending:
            left = None if deadline is None else max(deadline - time.monotonic(), 0.0)
            done, pending = ray.wait(pending, num_returns=1, timeout=left)
            if not done:
                raise self._unplaced(list(references).index(pending[0]), timeout_seconds)
            index = list(references).index(done[0])
            try:
                values[index] = ray.get(done[0])
            except RayError as error:
                raise start_error(self.labels[index], error) from None
            if on_done:
                on_done(index)
        return [values[index] for index in range(len(references))]

    def _unplaced(self, index: int, timeout_seconds: float | None) -> ConfigurationError:
        free = ray.available_resources()  # type: ignore[no-untyped-call]
        have = ", ".join(f"{free.get(name, 0):g} {name}" for name in ("CPU", "GPU", NPU_RESOURCE))
        return ConfigurationError(
            f"{self.labels[index]} did not start within {timeout_seconds:g} seconds: it asks for {self.places[index]}, "
            f"and the cluster has {have} free; stop what else runs there or choose another node"
        )

    def end(self, told_to_stop: bool) -> None:
        """Kill all actors, giving them time to finish first if they were `told_to_stop`; wait until they are gone."""
        self._ending.set()
        if told_to_stop and self.lost is None:
            ray.wait(self._serving, num_returns=len(self._serving), timeout=STOP_SECONDS)
        elif self._listening and not self._serving:
            closing = [handle.close.remote() for handle in self._handles]
            ray.wait(closing, num_returns=len(closing), timeout=STOP_SECONDS)
        for handle in self._handles:
            ray.kill(handle)
        farewell = [handle.process_id.remote() for handle in self._handles]
        ray.wait(farewell, num_returns=len(farewell), timeout=STOP_SECONDS)
        if self._watcher is not None:
            self._watcher.join()


def _death(reference: Any) -> str | None:
    """Why a stage's serving failed; None if it ended by itself."""
    try:
        ray.get(reference)
    except RayError as error:
        return reason(error)
    return None
