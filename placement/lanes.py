"""One engine at one precision on one device, and the times of stages in it: as measured, or by a prior.

A device takes at most one stage, in one of its lanes. Knows no plan and no constraint.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from placement.plans import default_precision
from placement.problem import PlacementProblem
from placement.profiles import Phase, SegmentMemory, SegmentTime
from placement.rooflines import Roofline, Weights, prior_parts
from placement.segment_times import StageParts, Surface, error_of, fit_parts, make_surface
from placement.steps import Step
from placement.types import Device


@dataclass(frozen=True, slots=True)
class Lane:
    """One engine at one precision on the device of this index."""

    device: int
    engine: str
    precision: str


def lanes_of(problem: PlacementProblem) -> Iterable[Lane]:
    """Every engine at every precision that a device has; where some of a device's were measured, only those.

    What an engine refused is a lane too, so that the refusal is said, and so is what a pin or the current plan names.
    """
    times = problem.profile.segments if problem.profile else ()
    refusals = problem.profile.refusals if problem.profile else ()
    for index, device in enumerate(problem.devices):
        measured = [(time.engine, time.precision) for time in times if time.device == device.name]
        refused = [(refusal.engine, refusal.precision) for refusal in refusals if refusal.device == device.name]
        every = [(engine, precision) for engine in device.engines for precision in device.precisions or ("fp32",)]
        for engine, precision in dict.fromkeys([*(measured or every), *refused, *_named(problem, device)]):
            yield Lane(index, engine, precision)


def _named(problem: PlacementProblem, device: Device) -> Iterable[tuple[str, str]]:
    """Engines and precisions that a pin or the current plan asks of the device."""
    for stage in problem.current.stages if problem.current else ():
        if stage.device.name == device.name:
            yield stage.engine, stage.precision
    for pin in problem.constraints.pins:
        if pin.device == device.name and (pin.engine or pin.precision):
            yield pin.engine or device.engines[0], pin.precision or default_precision(device)


class LaneTimes:
    """The parts of a stage in one lane at any step's size."""

    def __init__(
        self, problem: PlacementProblem, lane: Lane, roofline: Roofline, weights: Weights, sizes: Sequence[float]
    ) -> None:
        self.lane, self._roofline, self._weights, self._sizes = lane, roofline, weights, list(sizes)
        self._surfaces = _surfaces(problem, lane)
        self._parts: dict[tuple[Phase, int, float], StageParts] = {}

    @property
    def is_measured(self) -> bool:
        """Whether anything of the lane was measured."""
        return bool(self._surfaces)

    def parts(self, step: Step) -> StageParts:
        """Measured, or a prior where no segment of that phase was."""
        key = (step.phase, step.tokens, step.context)
        if key not in self._parts:
            self._parts[key] = self._make_parts(step)
        return self._parts[key]

    def _make_parts(self, step: Step) -> StageParts:
        surfaces = {(a, b): s for (phase, a, b), s in self._surfaces.items() if phase == step.phase}
        if not surfaces:
            return prior_parts(self._roofline, self._weights, self.lane.precision, step.tokens, step.context)
        seconds = _at(surfaces, step.tokens, step.context)
        error = error_of(list(surfaces.values()), step.tokens, step.context)
        return fit_parts(list(surfaces), seconds, self._sizes, error)


def lane_memory(problem: PlacementProblem, lane: Lane) -> list[SegmentMemory]:
    """What was measured of the lane's memory."""
    own = (problem.devices[lane.device].name, lane.engine, lane.precision)
    found = problem.profile.memory if problem.profile else ()
    return [each for each in found if (each.device, each.engine, each.precision) == own]


def _surfaces(problem: PlacementProblem, lane: Lane) -> dict[tuple[Phase, int, int], Surface]:
    device = problem.devices[lane.device]
    groups: dict[tuple[Phase, int, int], list[SegmentTime]] = {}
    for time in problem.profile.segments if problem.profile else ():
        if (time.device, time.engine, time.precision) == (device.name, lane.engine, lane.precision):
            groups.setdefault((time.phase, time.first, time.last), []).append(time)
    what = f"{device.name}/{lane.engine}@{lane.precision}"
    return {key: make_surface(times, what, static_shapes=device.static_shapes) for key, times in groups.items()}


def _at(surfaces: dict[tuple[int, int], Surface], tokens: int, context: float) -> list[float]:
    """Seconds of every segment. One that was measured at fewer sizes follows the shape of the best measured."""
    best = max(surfaces.values(), key=lambda s: (len(s.by_tokens.sizes), len(s.contexts)))
    return [_follow(surface, best, tokens, context) for surface in surfaces.values()]


def _follow(surface: Surface, best: Surface, tokens: int, context: float) -> float:
    sizes = surface.by_tokens.sizes
    nearest = min(max(float(tokens), sizes[0]), sizes[-1])
    reach = min(context, surface.contexts[-1]) if best.contexts[-1] > surface.contexts[-1] else context
    reference = best.at(nearest, reach)
    if (nearest == tokens and reach == context) or surface.static_shapes or not reference:
        return surface.at(tokens, context)
    return surface.at(nearest, reach) * best.at(tokens, context) / reference
