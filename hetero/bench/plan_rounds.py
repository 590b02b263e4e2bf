"""What earlier runs of a comparison measured, in a file: a busy machine is quiet for a while only, rounds add up.

Knows the file's form; measures nothing. A file of another model, machine, versions or requests is refused.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from hetero.batch import StageTrace
from hetero.bench.hops import Step
from hetero.bench.plans import Measured
from hetero.errors import ConfigurationError
from hetero.profiling.driving import Ride
from hetero.profiling.findings import Findings, findings_of
from placement import PlacementError, format_plan, parse_plan
from placement.problem import Traffic
from placement.profiles import Fingerprint, Profile, profile_from
from placement.types import Device


def save_rounds(file: Path, profile: Profile, traffic: Traffic, measured: Sequence[Measured]) -> None:
    """Write everything that was measured. Raises ConfigurationError where the file cannot be written."""
    rides = {format_plan(each.plan): [asdict(ride) for ride in each.rides] for each in measured}
    document = {"traffic": asdict(traffic), "profile": {"format": 1, **asdict(profile)}, "rides": rides}
    try:
        file.write_text(json.dumps(document), encoding="utf-8")
    except OSError as error:
        raise ConfigurationError(f"what was measured cannot be written to {str(file)!r}: {error.strerror}") from None


def load_rounds(
    file: Path, expected: Fingerprint, traffic: Traffic, devices: Sequence[Device]
) -> tuple[Findings, list[Measured]]:
    """What the file holds; nothing where there is none yet. Raises ConfigurationError for a file that does not fit."""
    if not file.exists():
        return Findings(), []
    try:
        document: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        if document["traffic"] != json.loads(json.dumps(asdict(traffic))):
            raise ConfigurationError(f"{str(file)!r} holds rounds of other requests; give another file")
        profile = profile_from(document["profile"]).require(expected)
        measured = [
            Measured(parse_plan(plan, devices, profile.block_count), [_ride(ride) for ride in rides])
            for plan, rides in document["rides"].items()
        ]
    except (OSError, ValueError, KeyError, TypeError, PlacementError) as error:
        raise ConfigurationError(f"{str(file)!r} holds no rounds that could be added to: {error}") from None
    return findings_of(profile), measured


def _ride(ride: dict[str, Any]) -> Ride:
    return Ride(tuple(map(_step, ride["prompt"])), tuple(map(_step, ride["decode"])), ride["decode_count"])


def _step(step: dict[str, Any]) -> Step:
    traces = tuple(StageTrace(**trace) for trace in step["traces"])
    return Step(step["submitted_at_seconds"], traces, step["collected_at_seconds"])
