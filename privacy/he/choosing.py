"""Which layout and which baby steps a layer gets: the cheapest by the relative times of SEAL's operations.

Knows times of one machine, which decide only between layouts; what a layer really takes is measured (`measuring.py`).
"""

from dataclasses import dataclass
from math import isqrt

from privacy.he.packing import Packing, layouts

#: Milliseconds at degree 8192 on one core: a product with a plaintext and its addition, per prime; a rescaling, per
#: prime that is left; what an answer costs to save, send and load.
_PRODUCT, _RESCALE, _ANSWER = 0.065, 0.29, 1.0


def rotation_cost(primes: int) -> float:
    """A rotation at so many data primes: each is decomposed, and each part transformed at every prime."""
    return 0.3 + 0.14 * primes * (primes + 1)


@dataclass(frozen=True, slots=True)
class Steps:
    """A layout with its baby steps. Giant steps turn what is rescaled already: one prime less."""

    packing: Packing
    baby: int

    @property
    def giant(self) -> int:
        return -(-self.packing.share // self.baby)

    @property
    def rotations(self) -> tuple[int, ...]:
        """Every rotation that needs a Galois key, ascending."""
        babies = range(1, self.baby)
        giants = range(self.baby, self.packing.share, self.baby)
        return tuple(sorted({*babies, *giants, *self.packing.folds}))

    def cost(self, primes: int) -> float:
        """Relative time of one application at so many data primes."""
        before, after = rotation_cost(primes), rotation_cost(primes - 1)
        each = self.packing.share * _PRODUCT * primes + self.giant * _RESCALE * (primes - 1)
        each += (self.giant - 1 + len(self.packing.folds)) * after + _ANSWER * (primes - 1)
        return (self.baby - 1) * before + self.packing.answers * each


def with_baby_steps(packing: Packing, primes: int) -> Steps:
    """The cheapest baby steps for a layout."""
    most = min(packing.share, 4 * isqrt(packing.share * packing.answers) + 1)
    return min((Steps(packing, baby) for baby in range(1, most + 1)), key=lambda steps: steps.cost(primes))


def choose(rows: int, columns: int, slots: int, primes: int) -> Steps:
    """The cheapest layout for a [rows, columns] matrix. Raises EncryptionError where none holds it."""
    found = [with_baby_steps(packing, primes) for packing in layouts(rows, columns, slots)]
    return min(found, key=lambda steps: steps.cost(primes))
