"""From a model, devices, and what was measured of them to a question for the placer.

Knows what a model weighs (`models.catalogue`) and which devices a profile is of; the answer is `placement`'s.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from hetero.cores import core_devices
from hetero.errors import ConfigurationError
from hetero.models.catalogue import describe_ends, describe_layers
from hetero.models.config import EncoderConfig, ModelConfig
from placement import default_precision
from placement.constraints import Constraints
from placement.problem import Bounds, ModelShape, Objective, PlacementProblem, Power, Traffic
from placement.profiles import HOST, Profile
from placement.types import Device

# Weights are counted in fp16, and from there at whatever precision a stage has.
_COUNTED_IN, _COUNTED_BYTES = "fp16", 2
#: Requests that are planned for unless others are named.
PROMPT_TOKENS, OUTPUT_TOKENS = 128, 128

OBJECTIVES = {
    "latency": Objective.LATENCY,
    "throughput": Objective.THROUGHPUT,
    "ttft": Objective.FIRST_TOKEN,
    "energy": Objective.ENERGY,
}


@dataclass(frozen=True, slots=True)
class Goal:
    """What a plan is to be best at, for which requests, within which limits; `power` where energy counts.

    Where `constraints` name no precision, each device computes in its usual one: a plan must not change the numbers by
    itself. `cores` says which single cores count as devices: those that were measured or are pinned, all, or none.
    """

    objective: Objective = Objective.LATENCY
    traffic: Traffic = field(default_factory=Traffic)
    constraints: Constraints = field(default_factory=Constraints)
    bounds: Bounds = field(default_factory=Bounds)
    power: Power | None = None
    cores: Literal["measured", "all", "none"] = "measured"


def objective_of(word: str) -> Objective:
    """The objective that a user's word means. Raises ConfigurationError."""
    if word not in OBJECTIVES:
        raise ConfigurationError(f"there is no objective {word!r}; choose one of {', '.join(OBJECTIVES)}")
    return OBJECTIVES[word]


def usual_traffic(context_tokens: int, concurrency: int = 1, chunk_tokens: int = 512) -> Traffic:
    """Requests of usual length, as far as the context reaches."""
    prompt = max(1, min(PROMPT_TOKENS, context_tokens // 2))
    output = max(1, min(OUTPUT_TOKENS, context_tokens - prompt))
    return Traffic(prompt, output, concurrency, chunk_tokens=chunk_tokens)


def make_problem(
    folder: Path, config: ModelConfig, found: Sequence[Device], profile: Profile | None, goal: Goal
) -> PlacementProblem:
    """The question for `choose`, of the devices that were `found` and of those cores of CPUs that count as devices."""
    devices = tuple(_in_allowed_precisions(device, goal) for device in placeable(found, profile, goal))
    return PlacementProblem(
        model_shape(folder, config),
        devices,
        profile_of(profile, devices) if profile else None,
        goal.traffic,
        goal.objective,
        goal.bounds,
        _of(devices, goal.constraints),
        goal.power,
    )


def _of(devices: Sequence[Device], constraints: Constraints) -> Constraints:
    """The constraints with clearances of these devices alone: a policy clears cores that do not count as devices."""
    if constraints.trust is None:
        return constraints
    names = {device.name for device in devices}
    clearances = {name: seen for name, seen in constraints.trust.clearances.items() if name in names}
    return replace(constraints, trust=replace(constraints.trust, clearances=clearances))


def placeable(found: Sequence[Device], profile: Profile | None, goal: Goal) -> tuple[Device, ...]:
    """All of `found`, and the cores of their CPUs that count as devices."""
    if goal.cores == "none":
        return tuple(found)
    named = {pin.device for pin in goal.constraints.pins} | set(goal.constraints.excluded)
    named.update(profile.device_names() if profile else ())
    return (*found, *(core for core in core_devices(found) if goal.cores == "all" or core.name in named))


def _in_allowed_precisions(device: Device, goal: Goal) -> Device:
    """The device with its usual precision alone, and one that is pinned; with all where precisions are constrained."""
    if goal.constraints.precisions is not None:
        return device
    pinned = [pin.precision for pin in goal.constraints.pins if pin.device == device.name]
    usual = default_precision(device)
    return replace(device, precisions=tuple(p for p in device.precisions if p == usual or p in pinned))


def model_shape(folder: Path, config: ModelConfig) -> ModelShape:
    """The model as the placer counts it. Raises ModelError."""
    ends = describe_ends(folder, config, _COUNTED_IN)
    return ModelShape(
        describe_layers(folder, config, _COUNTED_IN),
        bytes_per_weight=_COUNTED_BYTES,
        embedding_bytes=ends.embedding_bytes,
        head_bytes=ends.head_bytes,
        encoder=isinstance(config, EncoderConfig),
    )


def profile_of(profile: Profile, devices: Sequence[Device]) -> Profile:
    """What the profile knows of `devices` and their precisions; the rest does not matter to a plan on these."""
    names = {device.name for device in devices}
    known = {(device.name, precision) for device in devices for precision in device.precisions}
    return replace(
        profile,
        segments=tuple(time for time in profile.segments if (time.device, time.precision) in known),
        links=tuple(link for link in profile.links if _within((link.source, link.target), {*names, HOST})),
        memory=tuple(each for each in profile.memory if (each.device, each.precision) in known),
        refusals=tuple(each for each in profile.refusals if (each.device, each.precision) in known),
        contentions=tuple(both for both in profile.contentions if _within(both.devices, names)),
        encrypted=tuple(time for time in profile.encrypted if time.device in names),
    )


def _within(ends: Collection[str], names: Collection[str]) -> bool:
    return all(end in names for end in ends)
