"""Whether what a profile holds can be: times, sizes, ranges, and for which model, machine and versions it is.

Knows the records of `profiles.py`; reads no file.
"""

import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from placement.errors import ProfileError

if TYPE_CHECKING:
    from placement.profiles import Fingerprint, Profile, SegmentMemory, SegmentTime

AGAIN = "measure it again with `hetero profile`"


def check_profile(profile: "Profile") -> None:
    """Raise ProfileError for a time, a size or a range that cannot be, naming the record."""
    if profile.block_count < 1:
        raise ProfileError(f"the profile is of {profile.block_count} blocks; a model has at least one")
    for segment in profile.segments:
        what = f"{_option(segment)} {segment.phase} {segment.first}-{segment.last}"
        _check_range(segment.first, segment.last, profile.block_count, what)
        _check_sizes(what, tokens=segment.tokens - 1, context_tokens=segment.context_tokens)
        _check_seconds(segment.seconds, f"{what} at {segment.tokens} tokens")
    for link in profile.links:
        what = f"the link {link.source} -> {link.target}"
        _check_sizes(what, size_bytes=link.size_bytes)
        _check_seconds(link.seconds, f"{what} at {link.size_bytes} bytes")
    for memory in profile.memory:
        what = f"the memory of {_option(memory)} {memory.first}-{memory.last}"
        _check_range(memory.first, memory.last, profile.block_count, what)
        _check_sizes(
            what, weights=memory.weight_bytes, kv=memory.kv_bytes_per_token, compile_bytes=memory.compile_bytes
        )
    for contention in profile.contentions:
        if not math.isfinite(contention.factor) or contention.factor < 0:
            raise ProfileError(f"the contention of {' and '.join(contention.devices)} is {contention.factor}; {AGAIN}")
    for layer in profile.encrypted:
        what = f"the encrypted layer {layer.layer[:12]} on {layer.device}"
        _check_sizes(what, sent=layer.sent_bytes, answered=layer.answered_bytes, keys=layer.key_bytes)
        _check_seconds(layer.seconds, what)
        _check_seconds(layer.client_seconds, what)


def _option(record: "SegmentTime | SegmentMemory") -> str:
    return f"{record.device}/{record.engine}@{record.precision}"


def _check_range(first: int, last: int, block_count: int, what: str) -> None:
    if not 0 <= first < last <= block_count:
        raise ProfileError(f"the profile's {what} is no range of the model's blocks 0-{block_count}; {AGAIN}")


def _check_sizes(what: str, **sizes: int) -> None:
    for name, size in sizes.items():
        if size < 0:
            raise ProfileError(f"the profile's {what} has {name} too small; {AGAIN}")


def _check_seconds(repeats: Sequence[float], what: str) -> None:
    if not repeats:
        raise ProfileError(f"the profile of {what} has no time; {AGAIN}")
    for seconds in repeats:
        if not math.isfinite(seconds) or seconds < 0:
            raise ProfileError(f"the profile of {what} holds {seconds} seconds; {AGAIN}")


def check_fingerprint(have: "Fingerprint", expected: "Fingerprint") -> None:
    if have.model != expected.model:
        raise ProfileError(f"the profile is of another model ({have.model}, not {expected.model}); {AGAIN}")
    if have.machine != expected.machine:
        raise ProfileError(f"the profile is of another machine ({have.machine}, not {expected.machine}); {AGAIN}")
    changed = ", ".join(_changes(dict(have.versions), dict(expected.versions)))
    if changed:
        raise ProfileError(f"the profile was taken with other versions ({changed}); {AGAIN}")


def _changes(before: dict[str, str], after: dict[str, str]) -> Iterable[str]:
    for name in sorted({*before, *after}):
        if before.get(name) != after.get(name):
            yield f"{name} {before.get(name, 'absent')}, now {after.get(name, 'absent')}"
