"""What was measured: times of whole segments of blocks, of links, memory, refusals and contention, and for what.

Values and their file form (JSON, read strictly). Knows neither how a measurement is taken nor what it costs a plan
(`costs.py`). Seconds are kept as the repeats that were taken, so that their spread is known.
"""

import json
import os
from collections.abc import Collection
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from placement.errors import ProfileError, UnknownDeviceError
from placement.profile_checks import AGAIN, check_fingerprint, check_profile
from placement.profile_reading import read_record, read_records

Phase = Literal["prefill", "decode", "encode"]

#: The other end of the first and of the last stage: the process that feeds the pipeline and receives its tokens.
HOST = "host"
FORMAT = 1


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """For what a profile holds: a hash of the model's files, one of the machine, and the versions of what ran."""

    model: str
    machine: str
    versions: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class SegmentTime:
    """Repeats of one run of blocks [first, last), compiled as one piece.

    `tokens` are the rows of the batch: prompt tokens of the chunk (prefill), sequences that decode one token each
    (decode), or all padded tokens of the batch (encode). `context_tokens` is how many tokens each sequence has in its
    cache before the step (prefill, decode), or the padded length of a text (encode). On devices of static shape both
    are the shapes that were compiled. The segment that holds block 0 embeds; the one that holds the last block ends in
    the head and samples.
    """

    device: str
    engine: str
    precision: str
    phase: Phase
    first: int
    last: int
    tokens: int
    context_tokens: int
    seconds: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class LinkTime:
    """Repeats of moving `size_bytes` from one device to another through the real transport; `host` is the driver."""

    source: str
    target: str
    size_bytes: int
    seconds: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class SegmentMemory:
    """What blocks [first, last) took: weights and KV bytes a token as the engine says, and what else it grew by."""

    device: str
    engine: str
    precision: str
    first: int
    last: int
    weight_bytes: int
    kv_bytes_per_token: int
    compile_bytes: int


@dataclass(frozen=True, slots=True)
class Refusal:
    """A trial compile that the engine refused, with its own reason."""

    device: str
    engine: str
    precision: str
    reason: str


@dataclass(frozen=True, slots=True)
class Contention:
    """How many times longer each of two devices takes while the other works too: 1 is not at all."""

    devices: tuple[str, str]
    factor: float


@dataclass(frozen=True, slots=True)
class EncryptedTime:
    """Repeats of one encrypted layer on one device, for one ciphertext, which carries up to `vectors` vectors.

    `layer` is the digest of its weights and parameters, whatever its name. `seconds` are from handing the ciphertext
    over to having the answers, `client_seconds` of encrypting and decrypting. Keys go once, before the first.
    """

    device: str
    layer: str
    vectors: int
    sent_bytes: int
    answered_bytes: int
    key_bytes: int
    seconds: tuple[float, ...]
    client_seconds: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Profile:
    """All that was measured of one model on one machine."""

    fingerprint: Fingerprint
    block_count: int
    segments: tuple[SegmentTime, ...] = ()
    links: tuple[LinkTime, ...] = ()
    memory: tuple[SegmentMemory, ...] = ()
    refusals: tuple[Refusal, ...] = ()
    contentions: tuple[Contention, ...] = ()
    encrypted: tuple[EncryptedTime, ...] = ()

    def save(self, path: Path) -> None:
        """Write the profile whole or not at all. Raises ProfileError for measurements that cannot be."""
        check_profile(self)
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
        partial.write_text(json.dumps({"format": FORMAT, **asdict(self)}, indent=1, allow_nan=False), encoding="utf-8")
        os.replace(partial, path)

    @classmethod
    def load(cls, path: Path) -> "Profile":
        """Read a profile. Raises ProfileError naming the file, or the record and what is wrong with it."""
        try:
            document = json.loads(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise ProfileError(f"cannot read the profile {path}: {error.strerror}") from None
        except ValueError as error:
            raise ProfileError(f"the profile {path} is not a JSON file ({error}); {AGAIN}") from None
        return profile_from(document)

    def require(self, expected: Fingerprint, device_names: Collection[str] | None = None) -> "Profile":
        """This profile, if it is of that model, machine and versions, and names no device but those given.

        Raises ProfileError, or UnknownDeviceError for a device.
        """
        check_fingerprint(self.fingerprint, expected)
        for name in () if device_names is None else self.device_names():
            if name not in device_names:  # type: ignore[operator]
                known = ", ".join(device_names or ()) or "none"
                raise UnknownDeviceError(f"the profile names device {name!r}, but the devices here are: {known}")
        return self

    def device_names(self) -> tuple[str, ...]:
        """Every device that some measurement names, without the host."""
        named = [record.device for record in self.segments] + [record.device for record in self.memory]
        named += [record.device for record in self.refusals]
        named += [end for link in self.links for end in (link.source, link.target)]
        named += [record.device for record in self.encrypted]
        named += [name for contention in self.contentions for name in contention.devices]
        return tuple(name for name in dict.fromkeys(named) if name != HOST)


def profile_from(document: Any) -> Profile:
    """The profile that a parsed document describes. Raises ProfileError."""
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise ProfileError(f"the profile is not of format {FORMAT}; {AGAIN}")
    fields = {key: value for key, value in document.items() if key != "format"}
    records: dict[str, Any] = {key: read_records(kind, fields.pop(key, ()), key) for key, kind in _RECORDS.items()}
    fields["fingerprint"] = read_record(Fingerprint, fields.get("fingerprint"), "fingerprint")
    profile = read_record(Profile, {**fields, **records}, "profile")
    check_profile(profile)
    return profile


_RECORDS: dict[str, type[Any]] = {
    "segments": SegmentTime,
    "links": LinkTime,
    "memory": SegmentMemory,
    "refusals": Refusal,
    "contentions": Contention,
    "encrypted": EncryptedTime,
}
