"""Where batches are formed anew: rows that survived an exit wait, before a stage of fixed shapes, for others like them.

On such a device a batch of one row costs what a full one does. A row waits no longer than a deadline. Knows rows of one
padded length; knows no messages and no device.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from hetero.batch import EncodeBatch, ExitRows, FloatArray
from hetero.pipeline.base import TRACE

#: How long a row waits for company at most.
WAIT_SECONDS = 0.005


@dataclass(frozen=True, slots=True)
class Group:
    """A batch to run now: as long as its longest row is padded; `traces` are packed, with the rows' times summed."""

    batch: EncodeBatch
    hidden: FloatArray
    traces: bytes


@dataclass(slots=True)
class _Waiting:
    """Rows of one padded length; `since`: when the first of them came."""

    groups: list[Group]
    since: float

    @property
    def rows(self) -> int:
        return sum(len(group.hidden) for group in self.groups)


class ReformBuffer:
    """Gathers up to `rows` rows of one padded length, or those that are there `wait_seconds` after the first."""

    def __init__(
        self, rows: int, wait_seconds: float = WAIT_SECONDS, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._rows, self._wait_seconds, self._clock = rows, wait_seconds, clock
        self._waiting: dict[int, _Waiting] = {}

    def add(self, group: Group) -> Iterator[Group]:
        """Take rows in; yields a group for every `rows` rows of this length that are there now."""
        length = group.hidden.shape[1]
        waiting = self._waiting.setdefault(length, _Waiting([], self._clock()))
        waiting.groups.append(group)
        if waiting.rows < self._rows:
            return
        merged = _merged(self._waiting.pop(length).groups)
        whole = len(merged.hidden) // self._rows * self._rows
        for begin in range(0, whole, self._rows):
            yield _part(merged, slice(begin, begin + self._rows), first=begin == 0)
        if whole < len(merged.hidden):
            left = _part(merged, slice(whole, None), first=False)
            self._waiting[length] = _Waiting([left], self._clock())

    def overdue(self) -> Iterator[Group]:
        """What has waited long enough."""
        now = self._clock()
        for length, waiting in list(self._waiting.items()):
            if now - waiting.since >= self._wait_seconds:
                del self._waiting[length]
                yield _merged(waiting.groups)

    def all(self) -> Iterator[Group]:
        """Everything, at the end."""
        gone, self._waiting = self._waiting, {}
        for waiting in gone.values():
            yield _merged(waiting.groups)

    @property
    def patience_seconds(self) -> float | None:
        """How long until something is overdue; None where nothing waits."""
        if not self._waiting:
            return None
        first = min(waiting.since for waiting in self._waiting.values())
        return max(0.0, first + self._wait_seconds - self._clock())


def _merged(groups: list[Group]) -> Group:
    if len(groups) == 1:
        return groups[0]
    batches = [group.batch for group in groups]
    exits = [batch.exits for batch in batches if batch.exits is not None]
    rows = ExitRows(
        np.concatenate([each.ids for each in exits]),
        np.concatenate([each.limits for each in exits]),
        np.concatenate([each.seen for each in exits]),
    )
    batch = EncodeBatch(
        _number(rows),
        np.concatenate([each.token_ids for each in batches]),
        np.concatenate([each.attention_mask for each in batches]),
        np.concatenate([each.token_types for each in batches]),
        rows,
    )
    return Group(batch, np.concatenate([group.hidden for group in groups]), _summed([group.traces for group in groups]))


def _part(group: Group, rows: slice, first: bool) -> Group:
    """Some rows; the times of all go with the first part, so that none is counted twice."""
    exits = group.batch.exits
    assert exits is not None
    kept = ExitRows(exits.ids[rows], exits.limits[rows], exits.seen[rows])
    batch = group.batch
    part = EncodeBatch(_number(kept), batch.token_ids[rows], batch.attention_mask[rows], batch.token_types[rows], kept)
    return Group(part, group.hidden[rows], group.traces if first else blank(group.traces))


def _number(rows: ExitRows) -> int:
    """A number that no batch of the engine has: a row is in one batch at a time."""
    return -int(rows.ids[0]) - 1


def blank(traces: bytes) -> bytes:
    """As many traces, of no time."""
    return bytes(len(traces))


def _summed(packed: list[bytes]) -> bytes:
    """For each stage one trace as long as all of them together."""
    found = []
    for stage in zip(*(TRACE.iter_unpack(each) for each in packed), strict=True):
        found.append(TRACE.pack(0.0, 0.0, sum(ended - started for _, started, ended in stage)))
    return b"".join(found)
