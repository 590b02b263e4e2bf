"""What a tenant must know of an encrypted model to use it: layouts, rotations, bounds, labels. No weights.

It comes from the server and so is checked before it is believed: it names a parameter set that we have, and its
numbers fit that set. Nothing in it can weaken the encryption, which is the tenant's own.
"""

from dataclasses import dataclass

from privacy.errors import EncryptionError
from privacy.he.packing import Packing
from privacy.he.parameters import ParameterSet, named_parameters
from privacy.he.spec import Kind

_MOST_ROTATIONS = 512
_MOST_ROWS = 2**24


@dataclass(frozen=True, slots=True)
class Description:
    """One encrypted model as its users see it."""

    name: str
    #: SHA-256 of the weights and parameters; new weights, new digest.
    digest: str
    kind: Kind
    parameter_name: str
    taken: Packing
    given: Packing
    #: Rotations whose Galois keys the server needs.
    rotations: tuple[int, ...]
    relinearise: bool
    #: The longest vector, by its Euclidean norm, whose results surely stay in the plain range.
    norm_bound: float
    labels: tuple[str, ...] = ()
    #: Vectors that a tenant may send in an epoch; 0: no cap.
    queries_per_epoch: int = 0
    epoch_seconds: float = 0.0
    #: What is protected from whom, in words.
    statement: str = ""
    encoder: str = ""

    @property
    def parameters(self) -> ParameterSet:
        return named_parameters(self.parameter_name)

    @property
    def vectors(self) -> int:
        """Vectors that one ciphertext carries."""
        return self.taken.vectors


def checked(description: Description) -> Description:
    """`description` itself. Raises EncryptionError where its numbers cannot be true."""
    slots = description.parameters.slots
    steps = description.rotations
    sound = (
        all(_is_sound(packing, slots) for packing in (description.taken, description.given))
        and len(steps) <= _MOST_ROTATIONS
        and all(0 < step < slots for step in steps)
        and 0 < description.norm_bound < 1e12
        and len(description.labels) in (0, description.given.rows)
    )
    if not sound:
        raise EncryptionError("the server's description of the encrypted model contradicts itself; nothing was sent")
    return description


def _is_sound(packing: Packing, slots: int) -> bool:
    return (
        packing.slots == slots
        and 1 <= packing.rows <= _MOST_ROWS
        and 1 <= packing.columns <= slots
        and packing.copies >= 1
        and packing.copies & (packing.copies - 1) == 0
        and packing.period >= 1
        and slots % (packing.period * packing.copies) == 0
        and 1 <= packing.rows_each <= packing.lane <= packing.period
        and 0 <= packing.share <= slots
    )
