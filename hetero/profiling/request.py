"""From what a user wants measured to a profile in the cache.

Knows the cluster and the cache; measures nothing itself.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from hetero.cluster import Cluster, discover
from hetero.cores import core_devices, whole_cpu
from hetero.models.config import ModelConfig
from hetero.profiling.cache import profile_path, usable_profile
from hetero.profiling.findings import Findings
from hetero.profiling.fingerprint import fingerprint
from hetero.profiling.measuring import Subject, Tell, measure_all
from hetero.profiling.options import list_options
from placement.errors import UnknownDeviceError
from placement.profiles import Fingerprint, Profile
from placement.types import Device

if TYPE_CHECKING:
    from privacy.he.spec import ModelSpec


@dataclass(frozen=True, slots=True)
class Wish:
    """What to measure, in about how long. Empty means all, for precisions each device's usual one.

    Single cores of CPUs are devices of their own where `split_cpu` is set, or where they are named. `fresh` measures
    again what the cache knows. `cache` is its folder, None the usual one. `encrypted` are layers to be measured on
    ciphertexts, on CPUs.
    """

    devices: tuple[str, ...] = ()
    engines: tuple[str, ...] = ()
    precisions: tuple[str, ...] = ()
    split_cpu: bool = False
    budget_seconds: float = 60.0
    fresh: bool = False
    cache: Path | None = None
    encrypted: tuple["ModelSpec", ...] = ()


@dataclass(frozen=True, slots=True)
class Outcome:
    """The profile, the file in which it lies, and what there was no time to measure."""

    profile: Profile
    path: Path
    left_out: tuple[str, ...]


def measure_wish(
    cluster: Cluster, folder: Path, config: ModelConfig, context_tokens: int, wish: Wish, tell: Tell
) -> Outcome:
    """Measure, lay it over what the cache knows, and save it there.

    Raises ModelError, ConfigurationError, StageLostError, or placement.UnknownDeviceError for a name that is not there.
    """
    tell(0, 0, "looking for devices")
    found = discover(cluster)
    devices = choose_devices(found, wish.devices, wish.split_cpu)
    options = list_options(devices, wish.engines, wish.precisions)
    expected = fingerprint(folder, found)
    known = None if wish.fresh else usable_profile(expected, wish.cache)[0]
    subject = Subject(folder, config, context_tokens)
    findings = measure_all(subject, options, wish.budget_seconds, tell, known=known)
    if wish.encrypted:
        from hetero.profiling.encrypted import measure_encrypted

        whole = [device for device in devices if whole_cpu(device.name) == device.name]
        findings.encrypted += measure_encrypted(wish.encrypted, whole, known, tell)
    return keep(findings, expected, config, wish.cache)


def keep(findings: Findings, expected: Fingerprint, config: ModelConfig, cache: Path | None) -> Outcome:
    """Lay findings over what the cache knows, and save them there."""
    profile = findings.over(usable_profile(expected, cache)[0], expected, config.block_count)
    path = profile_path(expected, cache)
    profile.save(path)
    return Outcome(profile, path, tuple(findings.left_out))


def choose_devices(found: Sequence[Device], names: Sequence[str], split_cpu: bool) -> tuple[Device, ...]:
    """Those of `found` that are named, or all; with single cores where they are asked for.

    Raises UnknownDeviceError for a name that is neither a device nor a core.
    """
    cores = core_devices(found)
    if not names:
        return (*found, *(cores if split_cpu else ()))
    by_name = {device.name: device for device in (*found, *cores)}
    for name in names:
        if name not in by_name:
            raise UnknownDeviceError(f"there is no device {name!r}; the devices here are: {', '.join(by_name)}")
    wanted = dict.fromkeys([*names, *(core.name for core in cores if split_cpu)])
    return tuple(by_name[name] for name in wanted)
