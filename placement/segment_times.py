"""From measured segments of one device, engine and precision to the time of any range of blocks at any size.

A segment that was measured at several sizes is a surface over tokens and context: piecewise linear in tokens, linear in
context (attention reads every cached token once a row). From the segments' times at one size come the parts of a stage:

    stage [i, j) = interior(number of blocks) + embedding if i is 0 + head if j is the last

where interior, the overhead of a stage included, is piecewise linear through the measured numbers of blocks, so that a
segment that was measured whole is predicted as measured. Knows neither devices nor plans.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from statistics import median

import numpy as np
from numpy.typing import NDArray

from placement.profiles import SegmentTime
from placement.tables import TimeTable, make_table

Floats = NDArray[np.float64]

#: No prediction is called surer than this.
LEAST_ERROR = 0.03
#: Added where a size lies beyond those that were measured.
_BEYOND_ERROR = 0.10


@dataclass(frozen=True, slots=True)
class StageParts:
    """Seconds of the parts of a stage at one size of batch and context; `knots` are numbers of blocks, from 0 on."""

    knots: tuple[float, ...]
    interior_seconds: tuple[float, ...]
    embedding_seconds: float
    head_seconds: float
    relative_error: float
    measured: bool

    @property
    def overhead_seconds(self) -> float:
        return self.interior_seconds[0]

    def interior(self, blocks: Floats) -> Floats:
        """Seconds of so many blocks without ends; the last slope goes on past the last knot."""
        seconds = np.interp(blocks, self.knots, self.interior_seconds)
        slope = _slope(self.knots[-2:], self.interior_seconds[-2:])
        return np.asarray(seconds + slope * np.maximum(blocks - self.knots[-1], 0.0))


@dataclass(frozen=True, slots=True)
class Surface:
    """One segment over (tokens, context): a table over tokens at one context, and seconds a token of context more."""

    by_tokens: TimeTable
    context_tokens: float
    per_context_token: TimeTable | None
    contexts: tuple[float, ...]
    static_shapes: bool

    def at(self, tokens: float, context: float) -> float:
        """Seconds; a device of static shape computes the next larger shapes, as often as the largest is exceeded."""
        runs = 1
        if self.static_shapes:
            runs, tokens = math.ceil(tokens / self.by_tokens.sizes[-1]), _padded(tokens, self.by_tokens.sizes)
            context = _padded(context, self.contexts)
        usual, slope = self.by_tokens.at(tokens), self._per_context_token(tokens)
        if self.context_tokens:
            # What does not depend on the context is not below nothing, however noisy the slope.
            slope = min(slope, usual / self.context_tokens)
        return runs * (usual + slope * (context - self.context_tokens))

    def covers(self, tokens: float, context: float) -> bool:
        """Whether the size lies within what was measured (contexts: within twice)."""
        sizes = self.by_tokens.sizes
        return sizes[0] <= tokens <= sizes[-1] and context <= 2 * max(1.0, self.contexts[-1])

    def _per_context_token(self, tokens: float) -> float:
        table = self.per_context_token
        if table is None:
            return 0.0
        return table.at(tokens) if len(table.sizes) > 1 else table.seconds[0] * tokens / max(1.0, table.sizes[0])


def make_surface(times: Iterable[SegmentTime], what: str, *, static_shapes: bool = False) -> Surface:
    """The surface of repeats of one segment. Raises ProfileError, naming `what`, where there is none."""
    points: dict[tuple[int, int], list[float]] = {}
    for time in times:
        points.setdefault((time.tokens, time.context_tokens), []).extend(time.seconds)
    contexts = sorted({context for _, context in points})
    base = max(contexts, key=lambda c: (sum(at == c for _, at in points), -c)) if contexts else 0
    by_tokens = make_table({t: repeats for (t, c), repeats in points.items() if c == base}, what)
    slopes = _context_slopes(points, by_tokens, base)
    per_context = TimeTable(tuple(slopes), tuple(slopes.values())) if slopes else None
    return Surface(by_tokens, base, per_context, tuple(map(float, contexts)), static_shapes)


def _context_slopes(points: dict[tuple[int, int], list[float]], by_tokens: TimeTable, base: int) -> dict[float, float]:
    """Least-squares seconds a token of context, by tokens of the batch, where contexts besides `base` were measured."""
    sums: dict[int, tuple[float, float]] = {}
    for (tokens, context), repeats in points.items():
        if context != base:
            further, squares = sums.get(tokens, (0.0, 0.0))
            rise = float(np.median(repeats)) - by_tokens.at(tokens)
            sums[tokens] = further + rise * (context - base), squares + float(context - base) ** 2
    return {float(tokens): max(0.0, sums[tokens][0] / sums[tokens][1]) for tokens in sorted(sums)}


def fit_parts(
    ranges: Sequence[tuple[int, int]], seconds: Sequence[float], sizes: Sequence[float], relative_error: float
) -> StageParts:
    """The parts of a stage from the times of segments at one size of batch and context.

    `sizes[k]` is how large block k is beside the usual one. Least squares of relative errors with nothing negative;
    where the segments leave the parts undecided, equal blocks and small ends are preferred.
    """
    design = _design(tuple(ranges), tuple(sizes))
    values = np.maximum(np.array(seconds, dtype=float), 1e-12)
    weighted = np.concatenate([design.rows / values[:, None], design.preferences / values.max()])
    found = _non_negative(weighted, len(values))
    misfit = float(np.abs(design.rows @ found / values - 1).max())
    interior = np.cumsum(found[:-2]).tolist()
    return StageParts(
        (0.0, *design.knots),
        (_overhead(design.knots, interior), *interior),
        float(found[-2]),
        float(found[-1]),
        max(LEAST_ERROR, relative_error, misfit) + (0.0 if design.reaches else _BEYOND_ERROR),
        True,
    )


@dataclass(frozen=True, slots=True)
class _Design:
    """What a fit of one set of segments has of their ranges alone; `reaches` half of the blocks at least."""

    knots: tuple[float, ...]
    rows: Floats
    preferences: Floats
    reaches: bool


@lru_cache(maxsize=256)
def _design(ranges: tuple[tuple[int, int], ...], sizes: tuple[float, ...]) -> _Design:
    prefix = np.concatenate([[0.0], np.cumsum(sizes)])
    counts = [float(prefix[last] - prefix[first]) for first, last in ranges]
    knots = sorted(set(np.round(counts, 9).tolist()))
    rows = np.array([_row(r, c, knots, len(sizes)) for r, c in zip(ranges, counts, strict=True)])
    return _Design(tuple(knots), rows, _preferences(knots), knots[-1] >= 0.5 * prefix[-1])


def _row(blocks: tuple[int, int], count: float, knots: Sequence[float], block_count: int) -> Floats:
    """Coefficients of the growths of interior time up to each knot, then of embedding and head."""
    reached = [1.0 if knot <= count + 1e-9 else 0.0 for knot in knots]
    return np.array([*reached, float(blocks[0] == 0), float(blocks[1] == block_count)])


def _preferences(knots: Sequence[float]) -> Floats:
    """Weak rows that are zero where all blocks are alike and the ends cost nothing; to be divided by a usual time."""
    rows = np.zeros((len(knots) + 1, len(knots) + 2))
    for k in range(1, len(knots)):
        rows[k - 1, k] = 1e-3
        rows[k - 1, 0] = -1e-3 * (knots[k] - knots[k - 1]) / knots[0]
    rows[-2, -2] = rows[-1, -1] = 1e-4
    return rows


def _non_negative(rows: Floats, measured: int) -> Floats:
    """Least squares of ones for the first rows, which are `measured`, and of zeros for the others."""
    from scipy.optimize import nnls

    return np.asarray(nnls(rows, np.arange(len(rows)) < measured)[0])


def _overhead(knots: Sequence[float], interior: Sequence[float]) -> float:
    """What the first slope leaves at no blocks at all; nothing where only one number of blocks was measured."""
    if len(knots) == 1:
        return 0.0
    return max(0.0, interior[0] - knots[0] * _slope(knots[:2], interior[:2]))


def _slope(sizes: Sequence[float], seconds: Sequence[float]) -> float:
    return max(0.0, (seconds[-1] - seconds[0]) / (sizes[-1] - sizes[0])) if sizes[-1] > sizes[0] else 0.0


def _padded(size: float, shapes: Sequence[float]) -> float:
    return next((shape for shape in shapes if shape >= size), shapes[-1])


def error_of(surfaces: Sequence[Surface], tokens: float, context: float) -> float:
    """How far repeats lay apart, and more where a size was not measured."""
    spread = median(surface.by_tokens.relative_spread for surface in surfaces)
    beyond = not all(surface.static_shapes or surface.covers(tokens, context) for surface in surfaces)
    return spread + (_BEYOND_ERROR if beyond else 0.0)
