"""Where batches are formed anew: rows that survived an exit wait for others of about their length.

A call of an engine costs something by itself, and on a device of fixed shapes one row costs what a full batch does. A
row waits no longer than a deadline. Knows rows and their padded lengths; knows no messages and no device.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from hetero.batch import EncodeBatch, ExitRows, FloatArray
from hetero.pipeline.base import TRACE

Number = TypeVar("Number", np.int64, np.float32)


@dataclass(frozen=True, slots=True)
class Group:
    """A batch to run: as long as its longest row is padded; `traces` are packed, with the rows' times summed.

    `pooled` float32 [B, K] is what the last cut gave, where there was one in this stage.
    """

    batch: EncodeBatch
    hidden: FloatArray
    traces: bytes
    pooled: FloatArray | None = None


@dataclass(slots=True)
class _Waiting:
    """Rows of one padded length; `since`: when the first of them came."""

    groups: list[Group]
    since: float

    @property
    def rows(self) -> int:
        return sum(len(group.hidden) for group in self.groups)


class ReformBuffer:
    """Gathers rows until there are `rows` of about one length, or `wait_seconds` are over since the first came.

    With `whole`, groups leave with exactly `rows` rows, as fixed shapes want them, else with at least so many. What
    leaves before its group is full takes with it, but for `whole`, what waits of lengths up to the same power of two:
    what little is padded then costs less than another call.
    """

    def __init__(
        self, rows: int, wait_seconds: float, whole: bool, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._rows, self._wait_seconds, self._whole, self._clock = rows, wait_seconds, whole, clock
        self._waiting: dict[int, _Waiting] = {}

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def add(self, group: Group) -> Iterator[Group]:
        """Take rows in; yields groups that are full now."""
        length = group.hidden.shape[1]
        waiting = self._waiting.setdefault(length, _Waiting([], self._clock()))
        waiting.groups.append(group)
        if waiting.rows < self._rows:
            return
        merged = _merged(self._waiting.pop(length).groups)
        if not self._whole:
            yield merged
            return
        full = len(merged.hidden) // self._rows * self._rows
        for begin in range(0, full, self._rows):
            yield _part(merged, slice(begin, begin + self._rows), first=begin == 0)
        if full < len(merged.hidden):
            self._waiting[length] = _Waiting([_part(merged, slice(full, None), first=False)], self._clock())

    def one(self) -> Group | None:
        """What has waited longest, whether it is full or not; None where nothing waits."""
        if not self._waiting:
            return None
        return self._take(min(self._waiting, key=lambda each: self._waiting[each].since))

    def overdue(self) -> Iterator[Group]:
        """What has waited long enough."""
        now = self._clock()
        for length, waiting in list(self._waiting.items()):
            if length in self._waiting and now - waiting.since >= self._wait_seconds:
                yield self._take(length)

    def _take(self, length: int) -> Group:
        alike = [length] if self._whole else [each for each in self._waiting if _power(each) == _power(length)]
        return _merged([group for each in alike for group in self._waiting.pop(each).groups])

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


def _power(length: int) -> int:
    """The next power of two."""
    return 1 << (length - 1).bit_length()


def _merged(groups: list[Group]) -> Group:
    if len(groups) == 1:
        return groups[0]
    length = max(group.hidden.shape[1] for group in groups)
    batches = [group.batch for group in groups]
    exits = [batch.exits for batch in batches if batch.exits is not None]
    rows = ExitRows(
        np.concatenate([each.ids for each in exits]),
        np.concatenate([each.limits for each in exits]),
        np.concatenate([each.seen for each in exits]),
    )
    names = ("token_ids", "attention_mask", "token_types")
    token_ids, mask, types = (_joined([getattr(batch, name) for batch in batches], length) for name in names)
    pooled = [group.pooled for group in groups if group.pooled is not None]
    return Group(
        EncodeBatch(_number(rows), token_ids, mask, types, rows),
        _joined([group.hidden for group in groups], length),
        _summed([group.traces for group in groups]),
        np.concatenate(pooled) if len(pooled) == len(groups) else None,
    )


def _joined(arrays: list[NDArray[Number]], length: int) -> NDArray[Number]:
    """Rows of arrays [B, L, ...] one after another, padded with zeros, which the mask leaves out, to one length."""
    joined = np.zeros((sum(map(len, arrays)), length, *arrays[0].shape[2:]), arrays[0].dtype)
    begin = 0
    for array in arrays:
        joined[begin : begin + len(array), : array.shape[1]] = array
        begin += len(array)
    return joined


def _part(group: Group, rows: slice, first: bool) -> Group:
    """Some rows; the times of all go with the first part, so that none is counted twice."""
    exits, batch = group.batch.exits, group.batch
    assert exits is not None
    kept = ExitRows(exits.ids[rows], exits.limits[rows], exits.seen[rows])
    part = EncodeBatch(_number(kept), batch.token_ids[rows], batch.attention_mask[rows], batch.token_types[rows], kept)
    pooled = None if group.pooled is None else group.pooled[rows]
    return Group(part, group.hidden[rows], group.traces if first else blank(group.traces), pooled)


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
