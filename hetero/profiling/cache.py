"""Where profiles lie: one file a model and machine, in a folder of the user's cache.

Knows paths and fingerprints; nothing of what is measured.
"""

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path

from placement.errors import ProfileError
from placement.profiles import Fingerprint, Profile

#: Names the folder; else it is `hetero` in the user's cache folder.
VARIABLE = "HETERO_CACHE"


def cache_folder(environment: Mapping[str, str] = os.environ) -> Path:
    """HETERO_CACHE, or `hetero` in XDG_CACHE_HOME or ~/.cache."""
    if named := environment.get(VARIABLE):
        return Path(named).expanduser()
    return Path(environment.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "hetero"


def profile_path(expected: Fingerprint, folder: Path | None = None) -> Path:
    """Where the profile of this model on this machine is kept, whatever the versions."""
    machine = hashlib.sha256(expected.machine.encode()).hexdigest()[:12]
    return (folder or cache_folder()) / "profiles" / f"{expected.model}-{machine}.json"


def cached_profile(expected: Fingerprint, folder: Path | None = None) -> Profile | None:
    """The profile in the cache; None where there is none. Raises ProfileError where it is damaged or out of date."""
    path = profile_path(expected, folder)
    return Profile.load(path).require(expected) if path.exists() else None


def usable_profile(expected: Fingerprint, folder: Path | None = None) -> tuple[Profile | None, str]:
    """The profile in the cache, or None and why there is none to be used."""
    try:
        profile = cached_profile(expected, folder)
    except ProfileError as error:
        return None, str(error)
    return profile, "" if profile else "the model has not been measured here; `hetero profile` does that"
