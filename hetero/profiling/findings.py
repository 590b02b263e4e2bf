"""What has been measured so far, growing; and how it is laid over an earlier profile, or pooled with others.

Knows the records of a profile; takes no measurement. The run that measures owns it.
"""

from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass, field, replace
from statistics import median
from typing import Any, TypeVar

from hetero.profiling.options import Option
from placement.profiles import (
    Contention,
    EncryptedTime,
    Fingerprint,
    LinkTime,
    Profile,
    Refusal,
    SegmentMemory,
    SegmentTime,
)

#: So many repeats have quartiles that say something.
_TELLING_REPEATS = 8

Record = TypeVar("Record")
Timed = TypeVar("Timed", SegmentTime, LinkTime)


@dataclass(slots=True)
class Findings:
    """Records of every kind, and what was left out for want of time."""

    segments: list[SegmentTime] = field(default_factory=list)
    links: list[LinkTime] = field(default_factory=list)
    memory: list[SegmentMemory] = field(default_factory=list)
    refusals: list[Refusal] = field(default_factory=list)
    contentions: list[Contention] = field(default_factory=list)
    encrypted: list[EncryptedTime] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)

    def pool(self, later: "Findings") -> None:
        """Take in another pass over the same things: repeats of one measurement are put together."""
        self.segments = _pooled([*self.segments, *later.segments], _segment_key)
        self.add_links(later.links)
        self.memory += later.memory
        self.refusals += later.refusals
        self.contentions += later.contentions
        self.encrypted += later.encrypted

    def add_links(self, found: Iterable[LinkTime]) -> None:
        """Take in links; a link is measured in several ways, whose repeats are put together."""
        self.links = _pooled([*self.links, *found], _link_key)

    def refuse(self, option: Option, reason: str) -> None:
        self.refusals.append(Refusal(option.device.name, option.engine, option.precision, reason))

    def over(self, earlier: Profile | None, expected: Fingerprint, block_count: int) -> Profile:
        """A profile of all of `earlier` that was not measured anew, and of these."""
        before = earlier or Profile(expected, block_count)
        return replace(
            before,
            segments=_over(before.segments, self.segments, _segment_key),
            links=_over(before.links, self.links, _link_key),
            memory=_over(before.memory, self.memory, _memory_key),
            refusals=_over(before.refusals, self.refusals, _option_key),
            contentions=_over(before.contentions, self.contentions, lambda both: frozenset(both.devices)),
            encrypted=_over(before.encrypted, self.encrypted, lambda time: (time.device, time.layer)),
        )


def _over(earlier: Iterable[Record], later: Iterable[Record], key: Callable[[Any], Hashable]) -> tuple[Record, ...]:
    return tuple({key(record): record for record in (*earlier, *later)}.values())


def _pooled(records: Iterable[Timed], key: Callable[[Timed], Hashable]) -> list[Timed]:
    found: dict[Hashable, Timed] = {}
    for record in records:
        same = found.get(key(record))
        found[key(record)] = replace(record, seconds=same.seconds + record.seconds) if same else record
    return list(found.values())


def _link_key(link: LinkTime) -> Hashable:
    return link.source, link.target, link.size_bytes


def _option_key(record: SegmentTime | SegmentMemory | Refusal) -> tuple[str, str, str]:
    return record.device, record.engine, record.precision


def _segment_key(time: SegmentTime) -> Hashable:
    return *_option_key(time), time.phase, time.first, time.last, time.tokens, time.context_tokens


def _memory_key(memory: SegmentMemory) -> Hashable:
    return *_option_key(memory), memory.first, memory.last


def spread_of(findings: Findings) -> float:
    """How far the quartiles of a segment's repeats lie apart, relative to their median; 0 without repeats."""
    repeats = [sorted(time.seconds) for time in findings.segments if len(time.seconds) >= _TELLING_REPEATS]
    spreads = [(each[3 * len(each) // 4] - each[len(each) // 4]) / each[len(each) // 2] for each in repeats]
    return median(spreads) if spreads else 0.0


def findings_of(profile: Profile) -> Findings:
    """What a profile holds, to be added to."""
    return Findings(
        list(profile.segments),
        list(profile.links),
        list(profile.memory),
        list(profile.refusals),
        list(profile.contentions),
        list(profile.encrypted),
    )


def is_refused(profile: Profile | Findings | None, option: Option) -> bool:
    """Whether the option's engine is known to refuse it."""
    return profile is not None and _key_of(option) in map(_option_key, profile.refusals)


def is_measured(profile: Profile | None, option: Option, ranges: Iterable[tuple[int, int]]) -> bool:
    """Whether a profile knows times of all these segments."""
    times = profile.segments if profile else ()
    return {(time.first, time.last) for time in times if _option_key(time) == _key_of(option)}.issuperset(ranges)


def _key_of(option: Option) -> tuple[str, str, str]:
    return option.device.name, option.engine, option.precision
