"""The dynamic programme over chains: arrays of stage and link costs in, the best sequence of stages out.

Knows two tables and how their entries join (sum or maximum); knows neither seconds nor devices' names. Each device
takes at most one stage and may be left out; the order of devices is chosen. With the devices used as the state:

    entry[used, d, i] = min over e of join(value[used, e, i], link[e, d, i])
    value[used + d, d, j] = min over i < j of join(entry[used, d, i], stage[d, i, j])

Devices that are alike in both tables count as one type of which some are used, so that they are not enumerated twice.
All states of one number of stages are filled together, which keeps the work inside a few large array operations.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from placement.chain_tables import ChainStage, ChainTables, alike_devices
from placement.room import least_by_length, longest, room_left

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Join = Callable[..., Floats]
_Used = tuple[tuple[tuple[int, ...], ...], ...]


@dataclass(frozen=True, slots=True)
class _Level:
    """The states of one number of stages, [kinds, states, ...]: which devices are used, and the kind of the last.

    Kinds with fewer states have infinite values in the places left over. `before` [kinds, states, kinds] is the place
    of the state without this stage, by the kind of the stage before it; -1 where there is none.
    """

    entry: Floats
    value: Floats
    before: Ints
    used: _Used


class ChainSearch:
    """One run of the programme over `tables`; `join` is np.add or np.maximum.

    Only plans worth less than `upper` are looked for. With `count` only plans of exactly so many stages are; without
    it, of up to `most`, and of more stages only where they are worth less than those of fewer. Most states are left out
    for what they still need at least, were every device free again, or how few blocks the other devices can take.
    """

    def __init__(
        self,
        tables: ChainTables,
        join: Join,
        *,
        count: int | None = None,
        upper: float = np.inf,
        most: int | None = None,
    ) -> None:
        self.tables, self.join, self.count, self.upper = tables, join, count, upper
        self.types = alike_devices(tables)
        first = [members[0] for members in self.types]
        self.stage = tables.stage[first]
        # Between two devices of one type: the link of any two different ones.
        self.link = tables.link[np.ix_(first, [members[-1] for members in self.types])].copy()
        off = ~np.eye(len(first), dtype=bool)
        self.link[off] = tables.link[np.ix_(first, first)][off]
        self.link[~off & np.array([[len(members) == 1] for members in self.types])] = np.inf
        if join is np.maximum:
            self.stage[self.stage >= upper] = np.inf
        self.longest = longest(least_by_length(self.stage), upper)
        self.deepest = min(tables.device_count, tables.block_count, count or most or tables.block_count)
        self.levels: list[_Level] = []
        if self._room([[0] * len(self.types)])[0] >= tables.block_count:
            self.reach = self._reach()
            self.remaining = self._remaining()
            self._fill()

    def value(self, count: int) -> float:
        """The best value of a plan of exactly `count` stages; inf if there is none, or none that is looked for."""
        return float(self._totals(count).min()) if count <= len(self.levels) else float("inf")

    def best(self) -> tuple[ChainStage, ...] | None:
        """The best plan of all, of equal ones that with the fewest stages."""
        counts = range(self.count or 1, len(self.levels) + 1)
        least = min((self.value(count) for count in counts), default=float("inf"))
        return next((self.plan(count) for count in counts if self.value(count) <= least + 1e-12 * abs(least)), None)

    def plan(self, count: int) -> tuple[ChainStage, ...] | None:
        """The best plan of exactly `count` stages, with the exception that `value` names."""
        if not np.isfinite(self.value(count)):
            return None
        kind, state = np.unravel_index(int(self._totals(count).argmin()), self.levels[count - 1].value.shape[:2])
        return self._trace(count, int(kind), int(state))

    def _totals(self, count: int) -> Floats:
        leaving = self.tables.link[[members[0] for members in self.types], -1, -1]
        return self.join(self.levels[count - 1].value[:, :, -1], leaving[:, None])

    def _reach(self) -> Ints:
        """By first block: one past the last boundary at which any stage that begins there may end."""
        possible = np.asarray(np.isfinite(self.stage).any(axis=0))
        return np.where(possible.any(axis=1), possible.shape[1] - possible[:, ::-1].argmax(axis=1), 0)

    def _remaining(self) -> Floats:
        """[kinds, L+1]: the least that must follow a stage of a kind that ends at a boundary, devices used or not."""
        kinds, blocks = len(self.types), self.tables.block_count
        if self.join is np.maximum:
            # Stages above the limit are gone already: what is left rules out little more, and takes a while to count.
            return np.zeros((kinds, blocks + 1))
        least = np.full((kinds, blocks + 1), np.inf)
        least[:, blocks] = self.tables.link[[members[0] for members in self.types], -1, -1]
        for boundary in np.flatnonzero(self.reach[:blocks])[:0:-1]:
            ends = slice(boundary + 1, self.reach[boundary])
            following = self.join(self.stage[:, boundary, ends], least[:, ends]).min(axis=1)
            least[:, boundary] = self.join(self.link[:, :, boundary], following).min(axis=1)
        return least

    def _room(self, used: Sequence[Sequence[int]]) -> Ints:
        """Blocks that the stages still to come can take at most, by state."""
        return room_left(self.longest, used, [len(members) for members in self.types], self.deepest - len(self.levels))

    def _fill(self) -> None:
        self._add_level(*self._start())
        while len(self.levels) < self.deepest:
            used, before = self._states(self.levels[-1])
            if not any(used):
                break
            self._add_level(used, before, self._entries(self.levels[-1], before))

    def _add_level(self, used: _Used, before: Ints, entry: Floats) -> None:
        self.levels.append(_Level(entry, self._ends(entry), before, used))
        if self.count is None:
            self.upper = min(self.upper, self.value(len(self.levels)))
        value = self.levels[-1].value
        hopeless = np.asarray(self.join(value, self.remaining[:, None]) >= self.upper * (1 + 1e-9))
        needed = self.tables.block_count - self._room([state for states in used for state in states])
        for kind, states in enumerate(used):
            own, needed = needed[: len(states), None], needed[len(states) :]
            hopeless[kind, : len(states)] |= np.arange(value.shape[2]) < own
        value[:, :, :-1][hopeless[:, :, :-1]] = np.inf

    def _start(self) -> tuple[_Used, Ints, Floats]:
        kinds = len(self.types)
        entry = np.full((kinds, 1, self.tables.block_count + 1), np.inf)
        entry[:, 0, 0] = self.tables.link[-1, [members[0] for members in self.types], 0]
        used = tuple((tuple(int(k == kind) for k in range(kinds)),) for kind in range(kinds))
        return used, np.full((kinds, 1, kinds), -1), entry

    def _states(self, level: _Level) -> tuple[_Used, Ints]:
        """The states that follow those of `level` which are still alive, and where each comes from."""
        alive = np.asarray(np.isfinite(level.value[:, :, :-1]).any(axis=2))
        return _following(level.used, alive.tobytes(), tuple(map(len, self.types)))

    def _entries(self, level: _Level, before: Ints) -> Floats:
        """The least value at which a stage can start at each boundary: [kinds, states, L+1]."""
        entry = np.full((*before.shape[:2], self.tables.block_count + 1), np.inf)
        arriving = np.empty_like(entry)
        # Place -1, where there is no state before, is made one of infinite values.
        value = np.concatenate([level.value, np.full_like(level.value[:, :1], np.inf)], axis=1)
        for e in range(len(self.types)):
            np.take(value[e], before[:, :, e], axis=0, mode="wrap", out=arriving)
            np.minimum(entry, self.join(arriving, self.link[e][:, None, :], out=arriving), out=entry)
        return entry

    def _ends(self, entry: Floats) -> Floats:
        """The least value at which a stage can end at each boundary, from where it can start."""
        value, buffer = np.full_like(entry, np.inf), np.empty_like(entry)
        for first in np.flatnonzero(np.isfinite(entry[:, :, :-1]).any(axis=(0, 1))):
            ends = slice(first + 1, self.reach[first])
            joined = buffer[:, :, ends]
            self.join(entry[:, :, first, None], self.stage[:, None, first, ends], out=joined)
            np.minimum(value[:, :, ends], joined, out=value[:, :, ends])
        return value

    def _trace(self, count: int, kind: int, state: int) -> tuple[ChainStage, ...]:
        stages: list[ChainStage] = []
        last = self.tables.block_count
        for number in range(count - 1, -1, -1):
            level = self.levels[number]
            first = int(self.join(level.entry[kind, state], self.stage[kind, :, last]).argmin())
            stages.append(ChainStage(self.types[kind][level.used[kind][state][kind] - 1], first, last))
            if number:
                kind, state = self._before(number, kind, state, first)
            last = first
        return tuple(reversed(stages))

    def _before(self, number: int, kind: int, state: int, boundary: int) -> tuple[int, int]:
        places, earlier = self.levels[number].before[kind, state], self.levels[number - 1].value
        arriving = [
            self.join(earlier[e, p, boundary], self.link[e, kind, boundary]) if p >= 0 else np.inf
            for e, p in enumerate(places)
        ]
        e = int(np.argmin(np.array(arriving, dtype=float)))
        return e, int(places[e])


@lru_cache(maxsize=256)
def _following(used: _Used, alive: bytes, sizes: tuple[int, ...]) -> tuple[_Used, Ints]:
    """States with one stage more than those of `used` that are alive: the same for every search of like devices."""
    kinds = range(len(sizes))
    living = np.frombuffer(alive, dtype=bool).reshape(len(sizes), -1)
    place = {(e, key): i for e in kinds for i, key in enumerate(used[e]) if living[e, i]}
    left = sorted({key for _, key in place})
    free = [[key for key in left if key[kind] < sizes[kind]] for kind in kinds]
    before = np.full((len(kinds), max(map(len, free)), len(kinds)), -1)
    for kind, keys in enumerate(free):
        for state, key in enumerate(keys):
            before[kind, state] = [place.get((e, key), -1) for e in kinds]
    return tuple(tuple(_one_more(key, kind) for key in free[kind]) for kind in kinds), before


def _one_more(used: tuple[int, ...], kind: int) -> tuple[int, ...]:
    return (*used[:kind], used[kind] + 1, *used[kind + 1 :])
