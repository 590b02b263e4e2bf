"""From a problem to numbers: what every stage takes in every lane, what every link takes, and what a stage's memory is.

Prefill and decode are apart: a request is its prompt in chunks, then one step a token, and every step goes from the
host through all stages and back. Knows no solver and no constraint.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from placement.contention import contention_table
from placement.lanes import Lane, LaneTimes, lane_memory, lanes_of
from placement.link_times import LinkTimes, link_times
from placement.memory import memory_account
from placement.problem import PlacementProblem, Traffic
from placement.rooflines import roofline_of, weights_of
from placement.segment_times import StageParts
from placement.steps import (
    Step,
    block_shares,
    boundary_bytes,
    decode_steps,
    going_on,
    head_shares,
    prompt_steps,
)
from placement.types import Device

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Metric:
    """What adds up or is compared; D devices, and the host as number D.

    `stage` [lanes, L+1, L+1] by (first, last), infinite for first >= last; `link` [D+1, D+1, L+1] by boundary.
    """

    stage: Floats
    link: Floats

    def __add__(self, other: "Metric") -> "Metric":
        return Metric(self.stage + other.stage, self.link + other.link)

    def __mul__(self, factor: float) -> "Metric":
        return Metric(self.stage * factor, self.link * factor)

    def increase(self, other: "Metric") -> "Metric":
        """Add the other in place: new tables of this size take as long as what is computed for them."""
        np.add(self.stage, other.stage, out=self.stage)
        np.add(self.link, other.link, out=self.link)
        return self

    def scale(self, factor: float) -> "Metric":
        """Multiply in place."""
        np.multiply(self.stage, factor, out=self.stage)
        np.multiply(self.link, factor, out=self.link)
        return self


@dataclass(frozen=True, slots=True)
class _Fits:
    """What measurements come to, whatever the traffic: links, lanes, the times of each, how large each block is."""

    links: LinkTimes
    lanes: tuple[Lane, ...]
    times: tuple[LaneTimes, ...]
    sizes: Floats


class CostModel:
    """All costs of one problem; tables are made when they are first asked for."""

    def __init__(self, problem: PlacementProblem, fits: _Fits | None = None) -> None:
        self.problem = problem
        self.devices, self.model = problem.devices, problem.model
        self._fits = fits or _fit(problem)
        self.links, self.lanes = self._fits.links, self._fits.lanes
        self.times, self.sizes = self._fits.times, self._fits.sizes
        self._loads: dict[int, Metric] = {}
        self._residences: dict[int, Metric] = {}

    def under(self, traffic: Traffic) -> "CostModel":
        """The costs of other traffic; what was measured is not fitted again."""
        return CostModel(replace(self.problem, traffic=traffic), self._fits)

    @property
    def block_count(self) -> int:
        return self.model.block_count

    def device_of(self, lane: int) -> Device:
        """The device that a lane, by its index, is of."""
        return self.devices[self.lanes[lane].device]

    @cached_property
    def prompt_steps(self) -> tuple[Step, ...]:
        """The steps up to the first token, of one request alone."""
        return prompt_steps(self.problem.traffic, encoder=self.model.encoder)

    @cached_property
    def decode_steps(self) -> tuple[Step, ...]:
        """The steps after the first token, of one request alone."""
        return decode_steps(self.problem.traffic, encoder=self.model.encoder)

    @cached_property
    def first_token(self) -> Metric:
        """Seconds to the first token of one request alone."""
        return self.metric(self.prompt_steps)

    @cached_property
    def latency(self) -> Metric:
        """Seconds of a whole request alone."""
        steps = sum(step.times for step in self.decode_steps)
        return (self.token * steps).increase(self.first_token) if steps else self.first_token

    @cached_property
    def token(self) -> Metric:
        """Seconds of one decode step of one request alone; for encoders, and where none is decoded, of the prompt."""
        steps = [Step(step.phase, step.tokens, step.context, 1.0) for step in self.decode_steps]
        return self.metric(steps) if steps else self.first_token

    @cached_property
    def energy(self) -> Metric:
        """Joules of one request alone above those of waiting; infinite where a device's power is not known."""
        power = self.problem.power
        known = power.active_watts if power else {}
        watts = np.array([known.get(self.devices[lane.device].name, np.inf) for lane in self.lanes])
        moved = np.zeros(self.block_count + 1)
        for step in (*self.prompt_steps, *self.decode_steps):
            moved += step.times * boundary_bytes(self.model, step) * self._boundary_shares(step)
        joules = watts[:, None, None] * np.maximum(self.latency.stage, 1e-300)
        per_byte = power.link_joules_per_byte if power else 0.0
        return Metric(joules, np.broadcast_to(per_byte * moved, self.latency.link.shape).copy())

    def load(self, batch: int) -> Metric:
        """For how many seconds a request keeps a device or link busy where `batch` sequences share a step."""
        if batch not in self._loads:
            self._loads[batch] = self._make_load(batch)
        return self._loads[batch]

    def _make_load(self, batch: int) -> Metric:
        traffic, encoder = self.problem.traffic, self.model.encoder
        if batch == 1:
            return self.latency
        shared = self.metric((prompt_steps if encoder else decode_steps)(traffic, encoder=encoder, batch=batch))
        shared.scale(1 / batch)
        return shared if encoder else shared.increase(self.first_token)

    def residence(self, batch: int) -> Metric:
        """How many seconds a request stays there: what it shares with others takes as long for each of them."""
        if batch not in self._residences:
            found = self.load(batch) * batch
            if not self.model.encoder:
                # Prompts are not shared; where there is no stage it must stay infinite.
                alone = np.where(np.isfinite(self.first_token.stage), self.first_token.stage, 0.0)
                found.increase(Metric(alone, self.first_token.link) * (1 - batch))
            self._residences[batch] = found
        return self._residences[batch]

    def stays(self, batch: int, busy_seconds: float, alone_seconds: float) -> float:
        """The residence of a whole plan by its load and what of that its prompt takes."""
        return busy_seconds * batch - (0.0 if self.model.encoder else alone_seconds * (batch - 1))

    @cached_property
    def contention(self) -> Floats:
        """[D, D]: by how much more of its own time a device takes while the other works too."""
        return contention_table(self.devices, self.problem.profile)

    @cached_property
    def memory_bytes(self) -> Floats:
        """Bytes of every stage, [lanes, L+1, L+1]."""
        return np.array([self._memory_table(lane) for lane in range(len(self.lanes))])

    def _memory_table(self, index: int) -> Floats:
        lane, traffic = self.lanes[index], self.problem.traffic
        measured = lane_memory(self.problem, lane)
        return memory_account(self.model, traffic, self.devices[lane.device], lane.precision, measured).table()

    def metric(self, steps: Sequence[Step]) -> Metric:
        """Seconds that the steps take in every stage and on every link."""
        places = self.block_count + 1
        stage = np.where(np.tri(places, dtype=bool), np.inf, np.zeros((len(self.lanes), 1, 1)))
        link = np.zeros((len(self.devices) + 1, len(self.devices) + 1, places))
        for step in steps:
            shares, calls = self._shares(step), self._calls(step)
            boundaries = self._boundary_shares(step)
            for index, times in enumerate(self.times):
                parts = times.parts(step)
                _add_stages(stage[index], parts, shares, boundaries, step.times)
                if calls is not None:
                    stage[index] += step.times * parts.overhead_seconds * calls
            link += step.times * self.links.seconds(boundary_bytes(self.model, step)) * boundaries
        return Metric(stage, link)

    def _shares(self, step: Step) -> Floats:
        """[L] what each block's load is beside a usual block's: its size, who reaches it, and the head behind it."""
        traffic, count = self.problem.traffic, self.block_count
        return np.asarray(self.sizes * (block_shares(traffic, step, count) + head_shares(traffic, step, count)))

    def _calls(self, step: Step) -> Floats | None:
        """[L+1, L+1] calls of the engine beside a stage's first, an input: one behind each exit within the stage."""
        if not self.problem.traffic.exits:
            return None
        before = np.concatenate([[0.0], np.cumsum(going_on(self.problem.traffic, step, self.block_count))])
        return np.asarray(np.maximum(before[None, :-1] - before[1:, None], 0.0))

    def _boundary_shares(self, step: Step) -> Floats:
        """What crosses each boundary; what leaves early returns to the host all the same."""
        return np.append(block_shares(self.problem.traffic, step, self.block_count), 1.0)


def _fit(problem: PlacementProblem) -> _Fits:
    layers, model = problem.model.layers, problem.model
    weights = weights_of(layers, model.bytes_per_weight, model.head_bytes)
    typical = sorted(layer.weight_bytes for layer in layers)[len(layers) // 2] or 1
    sizes = [layer.weight_bytes / typical if layer.weight_bytes else 1.0 for layer in layers]
    rooflines = [roofline_of(device, problem.profile, weights) for device in problem.devices]
    lanes = tuple(lanes_of(problem))
    times = tuple(LaneTimes(problem, lane, rooflines[lane.device], weights, sizes) for lane in lanes)
    return _Fits(link_times(problem.devices, problem.profile), lanes, times, np.array(sizes))


def _add_stages(target: Floats, parts: StageParts, sizes: Floats, boundaries: Floats, times: float) -> None:
    """Add the seconds of stages to [L+1, L+1] by (first, last): by size, overhead by what enters, and the ends."""
    target += times * _interior(parts, sizes)
    if (boundaries < 1).any():
        target -= times * parts.overhead_seconds * (1 - boundaries[:, None])
    target[0] += times * parts.embedding_seconds
    target[:, -1] += times * parts.head_seconds * boundaries[-2]


def _interior(parts: StageParts, sizes: Floats) -> Floats:
    """[L+1, L+1] seconds of stages without ends; of equal blocks each length is counted once."""
    count = len(sizes)
    if not (sizes == sizes[0]).all():
        prefix = np.concatenate([[0.0], np.cumsum(sizes)])
        return parts.interior(np.maximum(prefix[None, :] - prefix[:, None], 0.0))
    lengths = np.maximum(np.arange(-count, count + 1), 0) * sizes[0]
    return sliding_window_view(parts.interior(lengths), count + 1)[::-1]
