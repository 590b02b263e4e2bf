"""The tenant's side of one encrypted model: range guard, layout, encryption, and the way back. Knows no wire."""

from collections.abc import Sequence

import numpy as np

from privacy.errors import EncryptionError
from privacy.he.description import Description, checked
from privacy.he.keys import KeyBundle, SecretKeys
from privacy.he.packing import Floats


class Sealer:
    """Encrypts vectors for the model of a description, and decrypts its answers. Keys may be shared between models."""

    def __init__(self, description: Description, keys: SecretKeys | None = None) -> None:
        self.description = checked(description)
        self.keys = keys or SecretKeys(description.parameters)
        if self.keys.parameters != description.parameters:
            raise EncryptionError(f"the keys are of {self.keys.parameters.name}, not of {description.parameter_name}")

    def bundle(self) -> KeyBundle:
        """What the server needs of the keys for this model."""
        return self.keys.bundle(self.description.rotations, self.description.relinearise)

    def seal(self, vectors: Floats) -> list[bytes]:
        """Ciphertexts of float [n, columns], each of up to `description.vectors` vectors.

        Raises EncryptionError before anything is encrypted where a vector is not finite, or so long that its result
        might leave the plain range and come back as another number.
        """
        rows = self._guarded(vectors)
        size = self.description.vectors
        return [
            self.keys.encrypt(self.description.taken.pack(rows[at : at + size])) for at in range(0, len(rows), size)
        ]

    def open(self, answers: Sequence[Sequence[bytes]], count: int) -> Floats:
        """The results of `count` vectors, float64 [count, rows], from the answers to each ciphertext in order."""
        given, size = self.description.given, self.description.vectors
        if len(answers) != -(-count // size) or any(len(parts) != given.answers for parts in answers):
            raise EncryptionError("the server gave another number of ciphertexts than the layer has")
        opened = []
        for number, parts in enumerate(answers):
            slots = [self.keys.decrypt(part) for part in parts]
            opened.append(given.unpack(slots, min(size, count - number * size)))
        return np.vstack(opened)

    def _guarded(self, vectors: Floats) -> Floats:
        rows = np.asarray(vectors, np.float64)
        if rows.ndim != 2 or not len(rows) or rows.shape[1] != self.description.taken.columns:
            raise EncryptionError(f"the layer takes vectors of {self.description.taken.columns} numbers")
        if not np.isfinite(rows).all():
            raise EncryptionError("a vector has a number that is not finite; nothing was sent")
        with np.errstate(over="ignore"):
            longest = float(np.linalg.norm(rows, axis=1).max())
        if longest > self.description.norm_bound:
            raise EncryptionError(
                f"a vector is longer than {self.description.norm_bound:.4g}, beyond which results may leave the plain"
                " range; scale it down; nothing was sent"
            )
        return rows
