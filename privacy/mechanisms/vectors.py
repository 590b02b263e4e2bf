"""Vectors with discrete Gaussian noise: clipped, put on a grid, noised with exact integers; for any two inputs.

On the client it is local DP: the server never sees the clean vector. On the server it protects what is given out.
"""

import math

import numpy as np

from privacy.errors import MechanismError
from privacy.mechanisms import costs, exact
from privacy.mechanisms.base import Floats, Integers, check_count
from privacy.mechanisms.grids import grid_vectors, vector_radius
from privacy.mechanisms.pools import Pool
from privacy.types import Charge, Event

#: Steps from 0 to the clip, unless the policy names a grid.
DEFAULT_STEPS = 16384.0
#: Numbers drawn ahead of time: this many vectors of each width, and no more than so many numbers in all.
POOL_VECTORS, POOL_NUMBERS = 64, 65536


class GaussianVectors:
    """Each row is clipped to L2 norm `clip`, rounded to multiples of `grid`, and noised.

    Any two rows differ by at most 2 clip + sqrt(D) grid after rounding; the noise is `noise_multiplier` times that, so
    rho = 1 / (2 noise_multiplier^2) a row, whatever its width D.
    """

    name = "discrete-gaussian"

    def __init__(self, clip: float, noise_multiplier: float, grid: float | None = None) -> None:
        self.clip, self.noise_multiplier = clip, noise_multiplier
        self.grid = grid or clip / DEFAULT_STEPS
        self._steps = clip / self.grid
        if not 1 <= self._steps <= 2**24:
            raise MechanismError("the grid of discrete-gaussian must be at most clip, and at least clip / 2^24")
        self._pools: dict[int, Pool] = {}

    @property
    def rho(self) -> float:
        return costs.rho_of_gaussian(self.noise_multiplier)

    def charge(self, count: int) -> Charge:
        """The cost of `count` rows."""
        parameters = (("noise_multiplier", self.noise_multiplier),)
        return Charge(self.rho * check_count(count), Event("discrete-gaussian", parameters, count))

    def sensitivity(self, width: int) -> float:
        """How far any two clipped and gridded rows of this width lie apart at most, in L2, in units of the input."""
        return self.sensitivity_steps(width) * self.grid

    def sensitivity_steps(self, width: int) -> float:
        """The same in steps of the grid, rounded up."""
        return 2 * vector_radius(self._steps, width) * (1 + costs.SLACK)

    def scale_steps(self, width: int) -> float:
        """The discrete Gaussian's parameter, its standard deviation within a hair, in steps of the grid."""
        return self.noise_multiplier * self.sensitivity_steps(width) * (1 + costs.SLACK)

    def gridded(self, vectors: Floats) -> Integers:
        """The clean rows on the grid, int64 [N, D]: what noise is added to. Never to be released."""
        rows = np.asarray(vectors)
        if rows.ndim != 2 or not rows.shape[1] or not np.issubdtype(rows.dtype, np.number):
            raise MechanismError(f"vectors have shape {rows.shape}; give rows of numbers, one a text")
        return grid_vectors(rows, self.clip, self._steps)

    def release(self, vectors: Floats) -> Floats:
        """Noised rows, float32 [N, D], for rows [N, D]: multiples of `grid`, longer than `clip`.

        NaN counts as 0, an infinity as a huge number. Raises MechanismError for another shape.
        """
        clean = self.gridded(vectors)
        noise = self._pool(clean.shape[1]).take(clean.size).reshape(clean.shape)
        return ((clean + noise) * self.grid).astype(np.float32)

    def fill(self, width: int) -> None:
        """Draw the noise of the first vectors of this width now."""
        self._pool(width).fill()

    def _pool(self, width: int) -> Pool:
        if width not in self._pools:
            scale = self.scale_steps(width)
            exact.check_map(self.name, exact.gaussian_rho(scale, self.sensitivity_steps(width)), self.rho)
            size = min(POOL_VECTORS * width, POOL_NUMBERS)
            self._pools[width] = Pool(lambda count: exact.gaussian_noise(scale, count), size)
        return self._pools[width]


def noise_multiplier_for(epsilon: float, delta: float) -> float:
    """The noise that makes one release (epsilon, delta)-DP by zCDP, the accountant that budgets are summed with."""
    from privacy.ledger.accounting import rho_of_epsilon_delta

    multiplier = costs.noise_multiplier_of_rho(rho_of_epsilon_delta(epsilon, delta))
    if not math.isfinite(multiplier):
        raise MechanismError("no noise gives this epsilon and delta; allow more of one")
    return multiplier
