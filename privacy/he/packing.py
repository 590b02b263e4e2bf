"""Where numbers lie in a ciphertext's slots, for one matrix: the layout that both sides follow. Plain numpy, no keys.

The slots are cut into `copies` stretches of `period` slots. Stretch c holds the vector turned by c * share places, so
that one rotation brings `share` times fewer diagonals than the plain method needs: stretch c adds up the columns
[c * share, (c + 1) * share), and log2(copies) rotations add the stretches. After Halevi and Shoup's diagonals (CRYPTO
2014, https://eprint.iacr.org/2014/106) and their baby steps and giant steps (CRYPTO 2018, https://eprint.iacr.org/2018/244).

Where a matrix is thin, a stretch has room for several vectors, one a lane. The stretches are added around the whole
ciphertext, so every slot of an answer holds a whole sum or nothing: no slot tells a part of a row.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from privacy.errors import EncryptionError

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Packing:
    """The layout of a [rows, columns] matrix's product in ciphertexts of `slots` slots.

    A vector's column `(r + c * share) % columns` lies at place r of its lane in stretch c. Row r of group g comes out
    at place r of the lane in every stretch of answer g.
    """

    slots: int
    rows: int
    columns: int
    copies: int
    share: int
    period: int
    #: Slots of one vector in a stretch.
    lane: int
    #: Rows of one answer.
    rows_each: int

    @property
    def vectors(self) -> int:
        """Vectors in one ciphertext."""
        return self.period // self.lane

    @property
    def answers(self) -> int:
        """Ciphertexts that come back for one that is sent."""
        return -(-self.rows // self.rows_each)

    @property
    def folds(self) -> tuple[int, ...]:
        """Rotations that add the stretches, the widest first."""
        return tuple(self.period << k for k in reversed(range(self.copies.bit_length() - 1)))

    @cached_property
    def _places(self) -> tuple[Ints, Ints, Ints]:
        """(stretch, lane, place in the lane) of every slot; -1 as lane where a slot is left over."""
        slot = np.arange(self.slots)
        lane, place = np.divmod(slot % self.period, self.lane)
        return slot // self.period % self.copies, np.where(lane < self.vectors, lane, -1), place

    def pack(self, vectors: Floats) -> Floats:
        """Slots of up to `vectors` vectors, float64 [n, columns]. Raises EncryptionError for another shape."""
        if vectors.ndim != 2 or vectors.shape[1] != self.columns or not 1 <= len(vectors) <= self.vectors:
            raise EncryptionError(f"the layer takes 1 to {self.vectors} vectors of {self.columns} numbers at a time")
        stretch, lane, place = self._places
        filled = np.vstack([vectors, np.zeros((self.vectors - len(vectors) + 1, self.columns))])
        return np.asarray(filled[lane, (place + stretch * self.share) % self.columns])

    def unpack(self, answers: list[Floats], count: int) -> Floats:
        """The first `count` vectors' results, float64 [count, rows], out of the answers' slots."""
        starts = np.arange(count)[:, None] * self.lane
        groups = [slots[starts + np.arange(self.rows_each)] for slots in answers]
        return np.hstack(groups)[:, : self.rows]

    def diagonals(self, weight: Floats, group: int) -> Floats:
        """What rotation t of the input is multiplied with for answer `group`: float64 [share, slots]."""
        stretch, lane, place = self._places
        row = group * self.rows_each + place
        turn = np.arange(self.share)[:, None]
        column = stretch * self.share + turn
        used = (lane >= 0) & (place < self.rows_each) & (row < self.rows) & (column < self.columns)
        return np.asarray(np.where(used, weight[np.minimum(row, self.rows - 1), (place + column) % self.columns], 0.0))

    def spread(self, values: Floats, group: int) -> Floats:
        """Values of rows, float64 [rows], at their places in every stretch and lane of answer `group`."""
        _, lane, place = self._places
        row = group * self.rows_each + place
        used = (lane >= 0) & (place < self.rows_each) & (row < self.rows)
        return np.asarray(np.where(used, values[np.minimum(row, self.rows - 1)], 0.0))


def layouts(rows: int, columns: int, slots: int) -> list[Packing]:
    """Every layout that holds a [rows, columns] matrix. Raises EncryptionError where none does."""
    if rows < 1 or not 1 <= columns <= slots // 2:
        raise EncryptionError(f"a layer needs at least one row and 1 to {slots // 2} columns at this degree")
    found = []
    for copies in (1 << k for k in range(slots.bit_length())):
        share, period = -(-columns // copies), slots // copies
        room = period - share + 1
        if room >= 1 and copies < 2 * columns:
            rows_each = min(room, rows)
            found.append(Packing(slots, rows, columns, copies, share, period, rows_each + share - 1, rows_each))
    return found


def following(before: Packing, rows: int) -> Packing:
    """The layout of a layer whose input is another's answer, which repeats every `before.period` slots.

    Raises EncryptionError where the answer before is more than one ciphertext, or has fewer slots than this has rows.
    """
    period = 1 << (rows - 1).bit_length()
    if before.answers != 1 or period > before.period:
        raise EncryptionError("a hidden layer must fit one ciphertext and be at least as wide as the layer after it")
    return Packing(before.slots, rows, before.period, before.period // period, period, period, period, rows)
