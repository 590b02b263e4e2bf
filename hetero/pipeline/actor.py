"""The stages of a plan as Ray actors with sockets between them: the pipeline of every real deployment.

Ray starts and watches (`actor_stages.py`); batches travel over the links alone, from the driver to the first stage,
from stage to stage, and from the last to the driver. Knows neither engines nor who schedules.
"""

import time
from collections.abc import Sequence
from contextlib import suppress
from itertools import pairwise
from pathlib import Path

from hetero import wire
from hetero.backends.base import ExitSpec, KvSpec, SliceReport
from hetero.batch import Batch, BatchResult
from hetero.cluster import Node, living_nodes
from hetero.errors import ConfigurationError, StageLostError
from hetero.pipeline.actor_stages import StageActors
from hetero.pipeline.base import Control, Message, Progress, check_reports, slice_specs
from hetero.pipeline.link import Inbound, LinkClosedError, LinkKeys, Outbound, open_inbound, open_outbound, read
from hetero.pipeline.link_curve import make_keys
from hetero.pipeline.serving import StageServer
from placement.types import Plan

PLACE_SECONDS = 60.0
PROBE_SECONDS = 30.0
#: How soon a waiting `collect` looks whether a stage was lost.
NOTICE_SECONDS = 0.1
#: How long Ray may take to say which stage it was that a closed link tells of.
LOSS_SECONDS = 1.5


class ActorPipeline:
    """A `Pipeline` of Ray actors over the slices of `plan`.

    `threads` bounds each stage's CPU threads, 0 giving it all cores of its node. With a `draft_depth` the first
    stage drafts tokens with its blocks up to there. `on_progress` is called with a stage's index and "starting",
    "loading", "ready". `server` is what each actor is: a stage, but where links are measured.
    The constructor returns when every stage has passed a probe on, and raises ModelError or BackendError if a slice
    cannot be loaded or runs otherwise than planned, ConfigurationError if Ray is not connected, finds no room within
    `place_seconds`, or a link does not work. Then, as after `close`, no actor or socket is left.
    """

    reports: tuple[SliceReport, ...]

    def __init__(
        self,
        folder: Path,
        plan: Plan,
        kv: KvSpec | None,
        *,
        threads: int = 0,
        draft_depth: int = 0,
        exits: ExitSpec | None = None,
        place_seconds: float = PLACE_SECONDS,
        on_progress: Progress | None = None,
        server: type[StageServer] = StageServer,
    ) -> None:
        self._outbound: Outbound | None = None
        self._inbound: Inbound | None = None
        self._closed = False
        nodes = living_nodes()
        self._actors = StageActors(plan, nodes, on_progress or (lambda index, text: None), server)
        try:
            self._actors.wait_placed(place_seconds)
            self.reports = self._actors.load(slice_specs(folder, plan, kv, threads, draft_depth, exits))
            check_reports(plan, self.reports)
            self._link(next(node for node in nodes if not node.name))
            self._probe()
        except BaseException:
            self.close()
            raise

    def _link(self, own: Node) -> None:
        """Open one link into each stage and one back here; a stage's outbound link is the next one's inbound."""
        keys = _link_keys([own, *(place.node for place in self._actors.places), own])
        self._inbound = open_inbound(own.address, keys[-1])
        addresses = [*self._actors.listen(keys[:-1]), self._inbound.address]
        self._actors.serve(addresses[1:], keys[1:])
        self._outbound = open_outbound(addresses[0], keys[0])

    def _probe(self) -> None:
        self._send(Control("probe"))
        if self._receive(PROBE_SECONDS) is None:
            raise ConfigurationError(
                f"no message came through the stages within {PROBE_SECONDS:g} seconds of their start; "
                "let the nodes reach each other's TCP ports"
            )

    @property
    def depth(self) -> int:
        return len(self._actors.labels)

    @property
    def process_ids(self) -> tuple[int, ...]:
        """The process of each stage, on its own node."""
        return self._actors.process_ids

    def submit(self, batch: Batch) -> None:
        """Send a batch to the first stage. Raises StageLostError if a stage has died or the pipeline is closed."""
        self._check()
        self._send(batch)

    def collect(self, timeout_seconds: float) -> BatchResult | None:
        """The next result in order, or None after `timeout_seconds`. Raises StageLostError as `submit` does."""
        message = self._receive(timeout_seconds)
        return message if isinstance(message, BatchResult) else None

    def _send(self, message: Message) -> None:
        assert self._outbound is not None
        try:
            self._outbound.send(wire.encode(message))
        except LinkClosedError:
            raise self._actors.loss(LOSS_SECONDS) from None

    def _receive(self, timeout_seconds: float) -> Message | None:
        deadline = time.monotonic() + timeout_seconds
        while True:
            left = max(deadline - time.monotonic(), 0.0)
            if message := self._poll(min(left, NOTICE_SECONDS)):
                return message
            self._check()
            if left <= NOTICE_SECONDS:
                return None

    def _poll(self, timeout_seconds: float) -> Message | None:
        if self._closed or self._inbound is None:
            return None
        try:
            frames = self._inbound.poll(timeout_seconds)
        except LinkClosedError:
            raise self._actors.loss(LOSS_SECONDS) from None
        return read(frames) if frames else None

    def _check(self) -> None:
        if self._closed:
            raise StageLostError("the pipeline is closed; make a new one")
        if self._actors.lost:
            raise StageLostError(self._actors.lost)

    def close(self) -> None:
        """End every stage and free its memory, sockets and process; a second call does nothing."""
        if self._closed:
            return
        self._closed = True
        if self._outbound:
            with suppress(LinkClosedError):
                self._outbound.send(wire.encode(Control("stop")))
        self._actors.end(told_to_stop=self._outbound is not None)
        for end in (self._outbound, self._inbound):
            if end:
                end.close()


def _link_keys(stops: Sequence[Node]) -> list[LinkKeys | None]:
    """Keys for every link from one stop to the next; None where both are on one node, so that no TCP is needed."""
    return [make_keys() if sender.id != receiver.id else None for sender, receiver in pairwise(stops)]
