"""What is asked of the placer: a model, devices, what was measured, the traffic, a goal, and what must hold.

Values and their checks; knows neither costs nor solving. `choose.choose(problem)` answers.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from enum import StrEnum

from placement.constraints import Constraints
from placement.errors import InfeasibleError, PlacementError, ProfileError, UnknownDeviceError
from placement.profiles import Profile
from placement.types import Device, Layer, Plan

#: Part of a device's free memory that plans may fill.
USABLE_SHARE = 0.9


class Objective(StrEnum):
    """What is made best; the names are those of the command line."""

    LATENCY = "latency"
    FIRST_TOKEN = "first-token"
    THROUGHPUT = "throughput"
    ENERGY = "energy"


@dataclass(frozen=True, slots=True)
class ModelShape:
    """A model's blocks and ends; weights are counted at `bytes_per_weight` each, KV bytes a token in fp16.

    The head travels with the last block. The embedding stays in the host's memory, so that it counts where the first
    block is on a CPU.
    """

    layers: tuple[Layer, ...]
    bytes_per_weight: int = 2
    embedding_bytes: int = 0
    head_bytes: int = 0
    encoder: bool = False

    @property
    def block_count(self) -> int:
        return len(self.layers)


@dataclass(frozen=True, slots=True)
class ExitPoint:
    """Where inputs may leave: after `depth` blocks. Looking costs `head_share` of the time of the block before it."""

    depth: int
    head_share: float = 0.0


@dataclass(frozen=True, slots=True)
class Traffic:
    """The requests to plan for: their expected lengths, how many at once, the longest that must fit.

    Latency and time to first token are those of one request alone; throughput is that of `concurrency` requests in
    flight, shared evenly by as many batches as there are stages; or, with `batch_sequences`, of as many batches of that
    size as keep every stage busy. `context_tokens` is what a sequence may grow to (None:
    prompt and output). A prompt is computed in chunks of `chunk_tokens`. For encoders `prompt_tokens` is the length of
    a text and `output_tokens` does not count.

    `survival[k]` is the probability that a decoded token still needs block k (early exit); empty: all do. Those that
    left still cost `residual_load` of a block's time: 0 where they are dropped, 1 where every block runs all the same
    (load = c * (S + (1 - S) * residual_load)). `exits` are where they leave. Inside a stage an exit parts the blocks
    into two calls of the engine, and those that go on pay a stage's overhead again; where a stage ends it does not.
    """

    prompt_tokens: int = 128
    output_tokens: int = 128
    concurrency: int = 1
    context_tokens: int | None = None
    chunk_tokens: int = 512
    batch_sequences: int | None = None
    survival: tuple[float, ...] = ()
    residual_load: float = 0.0
    exits: tuple[ExitPoint, ...] = ()

    @property
    def longest_tokens(self) -> int:
        return self.context_tokens or self.prompt_tokens + self.output_tokens


@dataclass(frozen=True, slots=True)
class Bounds:
    """What a plan must keep while another figure is made best; None: no bound."""

    latency_seconds: float | None = None
    first_token_seconds: float | None = None
    requests_per_second: float | None = None
    energy_joules: float | None = None

    def given(self) -> dict[str, float]:
        """The bounds that are set, by name."""
        values = {each.name: getattr(self, each.name) for each in fields(self)}
        return {name: value for name, value in values.items() if value is not None}


@dataclass(frozen=True, slots=True)
class Power:
    """Watts that a device draws more while it computes than while it waits, and joules a byte on a link."""

    active_watts: Mapping[str, float]
    link_joules_per_byte: float = 0.0


@dataclass(frozen=True, slots=True)
class PlacementProblem:
    """One question. Without a profile every time is a prior, and the answer says how little it knows."""

    model: ModelShape
    devices: tuple[Device, ...]
    profile: Profile | None = None
    traffic: Traffic = field(default_factory=Traffic)
    objective: Objective = Objective.LATENCY
    bounds: Bounds = field(default_factory=Bounds)
    constraints: Constraints = field(default_factory=Constraints)
    power: Power | None = None
    current: Plan | None = None


def check_problem(problem: PlacementProblem) -> None:
    """Raise the PlacementError that names what cannot be: no device or block, an unknown name, a senseless number."""
    if not problem.model.layers:
        raise PlacementError("the model has no block; there is nothing to place")
    if not problem.devices:
        raise InfeasibleError("there is no device to place the model on")
    _check_names(problem)
    _check_pins(problem)
    _check_trust(problem)
    _check_traffic(problem)
    profile = problem.profile
    if profile is not None and profile.block_count != problem.model.block_count:
        raise ProfileError(
            f"the profile is of another model: it has {profile.block_count} blocks, not {problem.model.block_count};"
            " measure it again with `hetero profile`"
        )
    for name, value in problem.bounds.given().items():
        if not math.isfinite(value) or value <= 0:
            raise PlacementError(f"the bound {name} is {value}; it must be a positive number")


def _check_names(problem: PlacementProblem) -> None:
    names = [device.name for device in problem.devices]
    for name in names:
        if names.count(name) > 1:
            raise PlacementError(f"device {name!r} is there twice; each must have a name of its own")
    for what, named in _named(problem):
        for name in named:
            if name not in names:
                raise UnknownDeviceError(f"{what} names device {name!r}; the devices here are: {', '.join(names)}")


def _check_pins(problem: PlacementProblem) -> None:
    by_name = {device.name: device for device in problem.devices}
    reached = 0
    for pin in sorted(problem.constraints.pins, key=lambda pin: pin.first):
        text, device = f"{pin.device}:{pin.first}-{pin.last}", by_name[pin.device]
        if not 0 <= pin.first < pin.last <= problem.model.block_count:
            raise PlacementError(f"the pin {text} is no range of the model's blocks 0-{problem.model.block_count}")
        if pin.first < reached:
            raise PlacementError(f"the pin {text} overlaps the one before it, which ends at {reached}")
        reached = pin.last
        if sum(other.device == pin.device for other in problem.constraints.pins) > 1:
            raise PlacementError(f"device {pin.device!r} is pinned twice; a device takes one stage")
        if pin.engine is not None and pin.engine not in device.engines:
            raise UnknownDeviceError(
                f"no engine {pin.engine!r} drives device {pin.device!r}: {', '.join(device.engines)}"
            )
        if pin.precision is not None and pin.precision not in device.precisions:
            raise UnknownDeviceError(f"device {pin.device!r} has no precision {pin.precision!r}")


def _named(problem: PlacementProblem) -> Iterable[tuple[str, Iterable[str]]]:
    constraints = problem.constraints
    yield "a pin", (pin.device for pin in constraints.pins)
    yield "the exclusion", constraints.excluded
    yield "the trust policy", constraints.trust.clearances if constraints.trust else ()
    yield "the power table", problem.power.active_watts if problem.power else ()
    yield "the profile", problem.profile.device_names() if problem.profile else ()


def _check_trust(problem: PlacementProblem) -> None:
    trust = problem.constraints.trust
    if trust is not None and len(trust.labels(problem.model.block_count)) != problem.model.block_count + 1:
        raise PlacementError(
            f"the trust policy labels {len(trust.boundary_labels)} boundaries; {problem.model.block_count} blocks have"
            f" {problem.model.block_count + 1}"
        )


def _check_traffic(problem: PlacementProblem) -> None:
    traffic = problem.traffic
    least = {"prompt_tokens": 1, "output_tokens": 1, "concurrency": 1, "chunk_tokens": 1, "longest_tokens": 1}
    if traffic.batch_sequences is not None:
        least["batch_sequences"] = 1
    for name, smallest in least.items():
        if getattr(traffic, name) < smallest:
            raise PlacementError(f"{name} is {getattr(traffic, name)}; it must be at least {smallest}")
    if traffic.survival and len(traffic.survival) != problem.model.block_count:
        raise PlacementError(
            f"there are {len(traffic.survival)} survival probabilities for {problem.model.block_count} blocks"
        )
    for share in (*traffic.survival, traffic.residual_load):
        if not 0 <= share <= 1:
            raise PlacementError(f"a survival probability or residual load is {share}; it must be within 0 and 1")
    _check_exits(traffic.exits, problem.model.block_count)


def _check_exits(exits: Sequence[ExitPoint], block_count: int) -> None:
    depths = [point.depth for point in exits]
    if depths != sorted(set(depths)) or not all(0 < depth < block_count for depth in depths):
        raise PlacementError(
            f"exits after {', '.join(map(str, depths))} blocks: they must rise and lie inside the {block_count} blocks"
        )
    for point in exits:
        if not (math.isfinite(point.head_share) and point.head_share >= 0):
            raise PlacementError(f"the head of the exit after {point.depth} blocks costs {point.head_share} of a block")
