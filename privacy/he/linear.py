"""A plain matrix times an encrypted vector: the diagonals are encoded once, a call rotates, multiplies and adds.

Knows SEAL's evaluator; not where keys or ciphertexts come from. Weights are encoded at the scale of the prime that the
product drops, so that the scale after a layer is exactly the scale before it.
"""

from collections.abc import Iterable
from typing import Any

import numpy as np

from privacy.errors import EncryptionError
from privacy.he.choosing import Steps
from privacy.he.packing import Floats
from privacy.he.parameters import ParameterSet
from privacy.he.sealing import levels, primes, seal, seal_context


class EncodedLinear:
    """`weight` [rows, columns] and `bias` [rows] at one level (0: that of a fresh ciphertext), ready to be applied.

    `scale` is that of the ciphertexts that come. Raises EncryptionError where a number is too large to be encoded.
    """

    def __init__(
        self, parameters: ParameterSet, steps: Steps, weight: Floats, bias: Floats, level: int, scale: float
    ) -> None:
        self.steps, self.scale, self._level = steps, scale, level
        self._parameters = parameters
        self._encoder = seal().CKKSEncoder(seal_context(parameters))
        self._evaluator = seal().Evaluator(seal_context(parameters))
        groups = range(steps.packing.answers)
        self._weights = [self._encode_weight(weight, group) for group in groups]
        self._biases = [self._encode(steps.packing.spread(bias, group), level + 1, scale) for group in groups]

    def __call__(self, ciphertext: Any, keys: Any) -> list[Any]:
        """The answers to one ciphertext: `packing.answers` ciphertexts, one level down."""
        babies = [ciphertext] + [self._rotated(ciphertext, step, keys) for step in range(1, self.steps.baby)]
        return [
            self._answer(babies, weights, bias, keys) for weights, bias in zip(self._weights, self._biases, strict=True)
        ]

    def _answer(self, babies: list[Any], weights: list[list[Any]], bias: Any, keys: Any) -> Any:
        giants = (self._giant(babies, row, number, keys) for number, row in enumerate(weights))
        total = self._sum(giants)
        for fold in self.steps.packing.folds:
            self._evaluator.add_inplace(total, self._rotated(total, fold, keys))
        self._evaluator.add_plain_inplace(total, bias)
        return total

    def _giant(self, babies: list[Any], weights: list[Any], number: int, keys: Any) -> Any:
        """One giant step: its products, added, rescaled, and turned where it is not the first."""
        total = self._sum(self._product(baby, plain) for baby, plain in zip(babies, weights, strict=False))
        self._evaluator.rescale_to_next_inplace(total)
        total.scale = self.scale
        return self._rotated(total, number * self.steps.baby, keys) if number else total

    def _product(self, ciphertext: Any, plain: Any) -> Any:
        out = seal().Ciphertext()
        self._evaluator.multiply_plain(ciphertext, plain, out)
        return out

    def _rotated(self, ciphertext: Any, step: int, keys: Any) -> Any:
        out = seal().Ciphertext()
        self._evaluator.rotate_vector(ciphertext, step, keys, out)
        return out

    def _sum(self, terms: Iterable[Any]) -> Any:
        total = None
        for term in terms:
            if total is None:
                total = term
            else:
                self._evaluator.add_inplace(total, term)
        return total

    def _encode_weight(self, weight: Floats, group: int) -> list[list[Any]]:
        """Plaintexts of the diagonals, one list a giant step; each is turned back by its giant step."""
        baby, scale = self.steps.baby, float(primes(self._parameters)[-2 - self._level])
        diagonals = self.steps.packing.diagonals(weight, group)
        turned = [np.roll(diagonal, t // baby * baby) for t, diagonal in enumerate(diagonals)]
        plains = [self._encode(_nowhere_zero(slots), self._level, scale) for slots in turned]
        return [plains[start : start + baby] for start in range(0, len(plains), baby)]

    def _encode(self, slots: Floats, level: int, scale: float) -> Any:
        plain = seal().Plaintext()
        try:
            self._encoder.encode(slots.tolist(), levels(self._parameters)[level], scale, plain)
        except (ValueError, RuntimeError):
            raise EncryptionError("a weight or a bias is too large for the parameter set; scale the layer") from None
        return plain


def _nowhere_zero(slots: Floats) -> Floats:
    """A diagonal of zeros would make a ciphertext that SEAL refuses; a number below its precision does not."""
    if slots.any():
        return slots
    return np.full_like(slots, 2.0**-30)
