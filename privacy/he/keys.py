"""The tenant's keys, and what of them may be handed over: bytes of a public context and the keys that a layer needs.

The secret key stays in this process and is never written. TenSEAL's `make_context_public` is not used: it leaves a
working decryptor in memory. Galois and relinearisation keys are written by their seeds, which halves them.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from privacy.errors import EncryptionError
from privacy.he.packing import Floats
from privacy.he.parameters import ParameterSet, require_secure
from privacy.he.sealing import levels, load_into, seal, seal_context, tenseal, to_bytes


@dataclass(frozen=True)
class KeyBundle:
    """What the server gets of a tenant's keys, as bytes. It holds nothing secret."""

    parameter_name: str
    context: bytes
    galois: bytes
    #: Empty where no layer squares.
    relinearisation: bytes = b""

    @property
    def size_bytes(self) -> int:
        return len(self.context) + len(self.galois) + len(self.relinearisation)

    @cached_property
    def digest(self) -> str:
        """SHA-256 over name and parts with their lengths: what the server keeps the bundle under."""
        found = hashlib.sha256(self.parameter_name.encode())
        for part in (self.context, self.galois, self.relinearisation):
            found.update(len(part).to_bytes(8, "big") + part)
        return found.hexdigest()


class SecretKeys:
    """A fresh key pair of a named set. Encrypts, decrypts, and makes the bundle that the server needs.

    Encryption is by the secret key, so that half of a ciphertext is sent as its seed.
    """

    def __init__(self, parameters: ParameterSet) -> None:
        self.parameters = require_secure(parameters)
        context = seal_context(parameters)
        library = tenseal()
        self._tenseal = library.context(
            library.SCHEME_TYPE.CKKS,
            parameters.degree,
            coeff_mod_bit_sizes=list(parameters.prime_bits),
            n_threads=1,
        )
        secret = self._tenseal.secret_key().data
        self._generator = seal().KeyGenerator(context, secret)
        self._encoder = seal().CKKSEncoder(context)
        self._encryptor = seal().Encryptor(context, secret)
        self._decryptor = seal().Decryptor(context, secret)

    def bundle(self, rotations: Iterable[int], relinearise: bool = False) -> KeyBundle:
        """Public context and the keys of these rotations alone, as bytes."""
        context = self._tenseal.serialize(
            save_public_key=True, save_secret_key=False, save_galois_keys=False, save_relin_keys=False
        )
        # The binding wants Galois elements 3^step mod 2N, not steps.
        elements = [pow(3, step, 2 * self.parameters.degree) for step in sorted(set(rotations))]
        galois = to_bytes(self._generator.create_galois_keys(elements)) if elements else b""
        relinearisation = to_bytes(self._generator.create_relin_keys()) if relinearise else b""
        return KeyBundle(self.parameters.name, context, galois, relinearisation)

    def encrypt(self, slots: Floats) -> bytes:
        """A fresh ciphertext of float64 [slots]. Raises EncryptionError where a number is not finite or too large."""
        if not np.isfinite(slots).all():
            raise EncryptionError("a vector with a number that is not finite cannot be encrypted; nothing was sent")
        plain = seal().Plaintext()
        try:
            self._encoder.encode(slots.tolist(), levels(self.parameters)[0], self.parameters.scale, plain)
        except (ValueError, RuntimeError):
            raise EncryptionError("a number is too large to be encrypted; nothing was sent") from None
        return to_bytes(self._encryptor.encrypt_symmetric(plain))

    def decrypt(self, blob: bytes) -> Floats:
        """The slots of an answer, float64 [slots]. Raises EncryptionError where it is no ciphertext of these keys' set.

        Nothing that depends on what this gives may go back to the server: CKKS is not secure against that.
        """
        ciphertext: Any = load_into(seal().Ciphertext(), blob, seal_context(self.parameters))
        plain = seal().Plaintext()
        try:
            self._decryptor.decrypt(ciphertext, plain)
            return np.asarray(self._encoder.decode_double(plain))
        except (ValueError, RuntimeError):
            raise EncryptionError("the answer cannot be decrypted") from None
