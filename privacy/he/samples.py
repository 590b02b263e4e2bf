"""Vectors to try a layer with: ordinary ones and extremes, up to the longest that a client may send."""

import numpy as np

from privacy.he.packing import Floats


def sample_vectors(count: int, columns: int, norm_bound: float, seed: int = 0) -> Floats:
    """`count` vectors, float64 [count, columns]. By turns: of length 1, 20 and near the bound in any direction, the
    bound in one place alone, equal numbers, alternating signs, tiny numbers, zeros.
    """
    generator = np.random.default_rng(seed)
    long = 0.999 * norm_bound
    rows = []
    for number in range(count):
        direction = generator.normal(size=columns)
        direction /= np.linalg.norm(direction)
        single = np.zeros(columns)
        single[number % columns] = (-1.0) ** number
        alternating = np.where(np.arange(columns) % 2, 1.0, -1.0) / np.sqrt(columns)
        kinds = (
            *(direction * min(length, long) for length in (1.0, 20.0, long)),
            *(long * single, np.full(columns, long / np.sqrt(columns)), long * alternating),
            *(1e-9 * direction, np.zeros(columns)),
        )
        rows.append(kinds[number % len(kinds)])
    return np.array(rows)
