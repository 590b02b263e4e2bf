"""What is accepted of a tenant's bytes: a public context of a named set, keys and fresh ciphertexts of that set.

Runs in the worker alone, which may die of it. Sizes are checked before anything is read, parameters before a context is
made of them, and computing is done with our own context of the named set, never with the tenant's.
"""

from typing import Any

from privacy.errors import EncryptionError
from privacy.he.parameters import ParameterSet
from privacy.he.sealing import levels, load_into, primes, seal, seal_context, tenseal

_SLACK_BYTES = 4096
_WORD_BYTES = 8
_MOST_PARAMETER_BYTES = 1024
#: Of TenSEAL's message: field 1, SEAL's parameters, as a length and bytes.
_PARAMETERS_TAG = 0x0A


def largest_ciphertext_bytes(parameters: ParameterSet) -> int:
    """No fresh ciphertext of these parameters is longer."""
    return 2 * (len(parameters.prime_bits) - 1) * parameters.degree * _WORD_BYTES + _SLACK_BYTES


def largest_context_bytes(parameters: ParameterSet) -> int:
    """More than a public key and a secret one: what holds a secret is refused for that, not for its length."""
    return 4 * len(parameters.prime_bits) * parameters.degree * _WORD_BYTES + _SLACK_BYTES


def accept_context(blob: bytes, parameters: ParameterSet) -> None:
    """Raises EncryptionError unless `blob` is a public TenSEAL context of these parameters, without a decryptor."""
    if len(blob) > largest_context_bytes(parameters):
        raise EncryptionError("the context is larger than a public one without Galois keys; serialise it without them")
    _require_parameters(blob, parameters)
    try:
        context = tenseal().context_from(blob, n_threads=1)
    except Exception:
        raise EncryptionError("the bytes are no TenSEAL context") from None
    if not context.is_public() or context.has_secret_key():
        raise EncryptionError("the context holds a secret key; take that key out of use, and send a public context")
    if _has_decryptor(context):
        raise EncryptionError("the context can decrypt; take its key out of use, and send a public context")
    ours = seal_context(parameters)
    theirs = context.seal_context().data
    if (theirs.key_parms_id(), theirs.first_parms_id()) != (ours.key_parms_id(), ours.first_parms_id()):
        raise EncryptionError(f"the context's parameters are not those of {parameters.name}")


def accept_galois(blob: bytes, parameters: ParameterSet) -> Any:
    """Galois keys, None for none. Raises EncryptionError where the bytes are no such keys of these parameters."""
    return load_into(seal().GaloisKeys(), blob, seal_context(parameters)) if blob else None


def accept_relinearisation(blob: bytes, parameters: ParameterSet) -> Any:
    """Relinearisation keys, None for none. Raises EncryptionError where the bytes are no such keys."""
    if not blob:
        return None
    keys = load_into(seal().RelinKeys(), blob, seal_context(parameters))
    if not keys.has_key(2):
        raise EncryptionError("the relinearisation keys do not hold the key for squares")
    return keys


def accept_ciphertext(blob: bytes, parameters: ParameterSet) -> Any:
    """A fresh ciphertext: two polynomials at the first level and the set's scale. Raises EncryptionError else."""
    if len(blob) > largest_ciphertext_bytes(parameters):
        raise EncryptionError("the ciphertext is larger than one of these parameters can be")
    ciphertext = load_into(seal().Ciphertext(), blob, seal_context(parameters))
    fresh = (
        ciphertext.parms_id() == levels(parameters)[0]
        and ciphertext.size() == 2
        and ciphertext.is_ntt_form()
        and ciphertext.scale == parameters.scale
        and not ciphertext.is_transparent()
    )
    if not fresh:
        raise EncryptionError("the ciphertext is not a fresh one of the model's parameters")
    return ciphertext


def require_rotations(keys: Any, rotations: set[int], parameters: ParameterSet) -> None:
    """Raises EncryptionError where a rotation's Galois key is missing."""
    elements = [pow(3, step, 2 * parameters.degree) for step in rotations]
    if rotations and (keys is None or not all(keys.has_key(element) for element in elements)):
        raise EncryptionError("the Galois keys lack a rotation that the model needs; make them by its description")


def _require_parameters(blob: bytes, parameters: ParameterSet) -> None:
    """Compare the parameters that the context starts with, before TenSEAL makes a context of them."""
    length = blob[1] if len(blob) > 1 else 0
    start = 2
    if length & 0x80 and len(blob) > 2:
        length, start = (length & 0x7F) | blob[2] << 7, 3
    if not blob or blob[0] != _PARAMETERS_TAG or not 0 < length <= min(_MOST_PARAMETER_BYTES, len(blob) - start):
        raise EncryptionError("the bytes are no TenSEAL context")
    found = load_into(seal().EncryptionParameters(seal().SCHEME_TYPE.CKKS), blob[start : start + length])
    moduli = tuple(prime.value() for prime in found.coeff_modulus())
    if found.poly_modulus_degree() != parameters.degree or moduli != primes(parameters):
        raise EncryptionError(f"the context's parameters are not those of {parameters.name}; only named sets are used")


def _has_decryptor(context: Any) -> bool:
    """Whether TenSEAL can decrypt with it: `has_secret_key` alone does not tell."""
    try:
        context.decryptor()
    except ValueError:
        return False
    return True
