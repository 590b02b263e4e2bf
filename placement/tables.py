"""A measured time as a function of size: piecewise linear inside the measured range, straight on outside it.

Knows numbers only. Sizes are tokens in a batch, bytes on a link, or tokens of context.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from placement.errors import ProfileError


@dataclass(frozen=True, slots=True)
class TimeTable:
    """Measured points by growing size; `relative_spread` is how far repeats of one point lay apart."""

    sizes: tuple[float, ...]
    seconds: tuple[float, ...]
    relative_spread: float = 0.0

    def at(self, size: float) -> float:
        """Seconds at `size`. Past the ends the slope of the outermost half of the points goes on, never below 0."""
        if len(self.sizes) == 1:
            return self.seconds[0]
        if self.sizes[0] <= size <= self.sizes[-1]:
            return float(np.interp(size, self.sizes, self.seconds))
        below = size < self.sizes[0]
        anchor = 0 if below else -1
        slope = self._end_slope(below)
        return max(0.0, self.seconds[anchor] + slope * (size - self.sizes[anchor]))

    def _end_slope(self, below: bool) -> float:
        """Least-squares slope of the half of the points at that end: one noisy point must not steer what is beyond."""
        count = max(2, len(self.sizes) // 2)
        part = slice(0, count) if below else slice(-count, None)
        return max(0.0, float(np.polyfit(self.sizes[part], self.seconds[part], 1)[0]))


def make_table(points: Mapping[float, Sequence[float]], what: str) -> TimeTable:
    """A table of the medians of repeats by size. Raises ProfileError, naming `what`, for times that cannot be."""
    if not points:
        raise ProfileError(f"the profile of {what} is empty; measure it again with `hetero profile`")
    for size, repeats in points.items():
        for seconds in repeats:
            if not math.isfinite(seconds) or seconds < 0:
                raise ProfileError(f"the profile of {what} holds {seconds} seconds at size {size:g}; measure it again")
    sizes = tuple(sorted(points))
    ordered = [sorted(points[size]) for size in sizes]
    medians = tuple(_quantile(repeats, 0.5) for repeats in ordered)
    spreads = sorted(_spread(repeats, median) for repeats, median in zip(ordered, medians, strict=True) if median)
    return TimeTable(sizes, medians, _quantile(spreads, 0.5) if spreads else 0.0)


def _spread(ordered: Sequence[float], median: float) -> float:
    """The distance of the quartiles, relative to the median."""
    return (_quantile(ordered, 0.75) - _quantile(ordered, 0.25)) / median


def _quantile(ordered: Sequence[float], share: float) -> float:
    """Linear between neighbours, as numpy's; these lists are too short for arrays to pay."""
    place = share * (len(ordered) - 1)
    below = int(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (place - below) * (ordered[above] - ordered[below])


@dataclass(frozen=True, slots=True)
class LinkCost:
    """seconds = latency_seconds + bytes / bytes_per_second, from a least-squares fit."""

    latency_seconds: float
    bytes_per_second: float

    def at(self, size_bytes: float) -> float:
        return self.latency_seconds + size_bytes / self.bytes_per_second


def fit_link(table: TimeTable) -> LinkCost:
    """The alpha-beta model of a link from at least two sizes, weighted so that small messages count as much as large.

    Raises ProfileError for fewer sizes.
    """
    if len(table.sizes) < 2:
        raise ProfileError("a link needs measurements at two sizes or more; measure it again with `hetero profile`")
    weights = [max(seconds, 1e-9) ** -2 for seconds in table.seconds]
    size, second = _mean(table.sizes, weights), _mean(table.seconds, weights)
    # The line through the weighted mean with the slope of least squares.
    apart = [each - size for each in table.sizes]
    together = _mean([a * (b - second) for a, b in zip(apart, table.seconds, strict=True)], weights)
    beta = together / _mean([a * a for a in apart], weights)
    return LinkCost(max(second - beta * size, 0.0), 1.0 / max(beta, 1e-15))


def _mean(values: Sequence[float], weights: Sequence[float]) -> float:
    return sum(value * weight for value, weight in zip(values, weights, strict=True)) / sum(weights)
