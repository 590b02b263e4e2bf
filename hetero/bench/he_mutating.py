"""Ways to spoil bytes: flips, cuts, insertions, overwritten words and headers. Repeatable by its source of chance."""

import random
from collections.abc import Callable

#: Where SEAL's and TenSEAL's headers, sizes and parameters stand.
_HEAD_BYTES = 128
_WORDS = (0, 1, 0x7F, 0x80, 0xFF, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF, 0x7FFFFFFFFFFFFFFF, 0xFFFFFFFFFFFFFFFF)

Mutation = Callable[[bytearray, random.Random], None]


def mutated(blob: bytes, chance: random.Random) -> bytes:
    """`blob` changed in one to four ways; never `blob` itself."""
    while True:
        changed = bytearray(blob)
        for _ in range(chance.choice((1, 1, 1, 2, 4))):
            chance.choice(_MUTATIONS)(changed, chance)
        if changed != blob:
            return bytes(changed)


def _at(blob: bytearray, chance: random.Random) -> int:
    """A place: half of them in the head, where a change means most."""
    most = len(blob) if chance.random() < 0.5 else min(len(blob), _HEAD_BYTES)
    return chance.randrange(max(1, most))


def _flip(blob: bytearray, chance: random.Random) -> None:
    if blob:
        blob[_at(blob, chance) % len(blob)] ^= 1 << chance.randrange(8)


def _word(blob: bytearray, chance: random.Random) -> None:
    """Put an extreme number where one may stand."""
    at, size = _at(blob, chance), chance.choice((1, 2, 4, 8))
    blob[at : at + size] = (chance.choice(_WORDS) & ((1 << 8 * size) - 1)).to_bytes(size, "little")


def _cut(blob: bytearray, chance: random.Random) -> None:
    del blob[_at(blob, chance) :]


def _drop(blob: bytearray, chance: random.Random) -> None:
    at = _at(blob, chance)
    del blob[at : at + chance.choice((1, 2, 8, 100))]


def _insert(blob: bytearray, chance: random.Random) -> None:
    at = _at(blob, chance)
    blob[at:at] = chance.randbytes(chance.choice((1, 2, 8, 100)))


def _noise(blob: bytearray, chance: random.Random) -> None:
    """Overwrite a stretch with random bytes."""
    at = _at(blob, chance)
    size = min(chance.choice((4, 64, 4096)), len(blob) - at)
    blob[at : at + size] = chance.randbytes(max(0, size))


def _repeat(blob: bytearray, chance: random.Random) -> None:
    """Say a stretch twice."""
    at = _at(blob, chance)
    blob[at:at] = blob[at : at + 64]


_MUTATIONS: tuple[Mutation, ...] = (_flip, _word, _cut, _drop, _insert, _noise, _repeat)
