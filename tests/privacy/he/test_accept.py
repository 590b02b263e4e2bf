"""What is accepted of a tenant's bytes: public contexts, keys and fresh ciphertexts of the named set, and no other."""

from collections.abc import Callable

import numpy as np
import pytest
import tenseal

from privacy.errors import EncryptionError
from privacy.he import accept
from privacy.he.keys import KeyBundle, SecretKeys
from privacy.he.parameters import ParameterSet, named_parameters
from privacy.he.sealing import seal, seal_context, to_bytes


@pytest.fixture(scope="module")
def keys(keys_of: Callable[[str], SecretKeys]) -> SecretKeys:
    return keys_of("ckks-8192-1")


@pytest.fixture(scope="module")
def bundle(keys: SecretKeys) -> KeyBundle:
    return keys.bundle([1, 2], relinearise=True)


@pytest.fixture(scope="module")
def others() -> SecretKeys:
    """Keys of another degree."""
    return SecretKeys(named_parameters("ckks-16384-3"))


def tenseal_context(bits: tuple[int, ...] = (60, 40, 60), degree: int = 8192) -> tenseal.Context:
    return tenseal.context(tenseal.SCHEME_TYPE.CKKS, degree, coeff_mod_bit_sizes=list(bits))


def public_bytes(context: tenseal.Context) -> bytes:
    made = context.serialize(save_public_key=True, save_secret_key=False, save_galois_keys=False, save_relin_keys=False)
    return bytes(made)


def test_a_bundle_of_ours_is_accepted(bundle: KeyBundle, parameters: ParameterSet) -> None:
    accept.accept_context(bundle.context, parameters)
    galois = accept.accept_galois(bundle.galois, parameters)
    accept.require_rotations(galois, {1, 2}, parameters)
    assert accept.accept_relinearisation(bundle.relinearisation, parameters).has_key(2)


def test_a_context_with_a_secret_key_is_refused(parameters: ParameterSet) -> None:
    private = tenseal_context()
    for public_key in (True, False):
        blob = private.serialize(
            save_public_key=public_key, save_secret_key=True, save_galois_keys=False, save_relin_keys=False
        )
        with pytest.raises(EncryptionError, match="holds a secret key"):
            accept.accept_context(blob, parameters)


def test_a_context_that_was_made_public_is_accepted_as_bytes_only(parameters: ParameterSet) -> None:
    """In memory a decryptor is left behind; what is serialised has none."""
    context = tenseal_context()
    context.make_context_public()
    assert not context.has_secret_key() and context.decryptor() is not None
    accept.accept_context(public_bytes(context), parameters)
    with pytest.raises(ValueError, match="decryption"):
        tenseal.context_from(public_bytes(context)).decryptor()


@pytest.mark.parametrize(
    ("bits", "degree"), [((60, 40, 40, 60), 8192), ((40, 20, 40), 4096), ((60, 40, 60), 16384), ((40, 40, 40), 8192)]
)
def test_a_context_of_other_parameters_is_refused(bits: tuple[int, ...], degree: int, parameters: ParameterSet) -> None:
    with pytest.raises(EncryptionError, match=r"not those of ckks-8192-1|larger than a public"):
        accept.accept_context(public_bytes(tenseal_context(bits, degree)), parameters)


def test_a_bfv_context_is_refused(parameters: ParameterSet) -> None:
    context = tenseal.context(tenseal.SCHEME_TYPE.BFV, 8192, plain_modulus=1032193)
    with pytest.raises(EncryptionError):
        accept.accept_context(public_bytes(context), parameters)


def test_a_context_with_galois_keys_is_refused_by_its_size(parameters: ParameterSet) -> None:
    context = tenseal_context()
    context.generate_galois_keys()
    blob = context.serialize(save_secret_key=False, save_galois_keys=True)
    with pytest.raises(EncryptionError, match="without them"):
        accept.accept_context(blob, parameters)


@pytest.mark.parametrize("blob", [b"", b"\n", b"\n\x05abc", b"\x12" * 100, bytes(1000), b"\n\xff\xff\xff\xff"])
def test_bytes_that_are_no_context_are_refused(blob: bytes, parameters: ParameterSet) -> None:
    with pytest.raises(EncryptionError):
        accept.accept_context(blob, parameters)


def test_keys_of_another_set_are_refused(others: SecretKeys, parameters: ParameterSet) -> None:
    foreign = others.bundle([1], relinearise=True)
    with pytest.raises(EncryptionError, match="no valid GaloisKeys"):
        accept.accept_galois(foreign.galois, parameters)
    with pytest.raises(EncryptionError, match="no valid RelinKeys"):
        accept.accept_relinearisation(foreign.relinearisation, parameters)


def test_missing_rotations_are_refused(bundle: KeyBundle, parameters: ParameterSet) -> None:
    galois = accept.accept_galois(bundle.galois, parameters)
    for keys in (galois, None):
        with pytest.raises(EncryptionError, match="lack a rotation"):
            accept.require_rotations(keys, {1, 2, 4}, parameters)


def test_ciphertexts_that_are_not_fresh_are_refused(keys: SecretKeys, parameters: ParameterSet) -> None:
    good = accept.accept_ciphertext(keys.encrypt(np.ones(4096)), parameters)
    evaluator = seal().Evaluator(seal_context(parameters))
    lower, squared, rescaled = (
        seal().Ciphertext(),
        seal().Ciphertext(),
        accept.accept_ciphertext(keys.encrypt(np.ones(4096)), parameters),
    )
    evaluator.mod_switch_to_next(good, lower)
    evaluator.square(good, squared)
    rescaled.scale = 2.0**41
    for other in (lower, squared, rescaled):
        with pytest.raises(EncryptionError, match=r"not a fresh one|larger than one"):
            accept.accept_ciphertext(to_bytes(other), parameters)


def test_ciphertexts_of_other_parameters_or_sizes_are_refused(others: SecretKeys, parameters: ParameterSet) -> None:
    with pytest.raises(EncryptionError):
        accept.accept_ciphertext(others.encrypt(np.ones(8192)), parameters)
    with pytest.raises(EncryptionError, match="larger than one"):
        accept.accept_ciphertext(bytes(accept.largest_ciphertext_bytes(parameters) + 1), parameters)


def test_no_ciphertext_of_ours_exceeds_the_size(keys: SecretKeys, parameters: ParameterSet) -> None:
    assert len(keys.encrypt(np.ones(4096))) < accept.largest_ciphertext_bytes(parameters)
    assert len(keys.bundle([]).context) < accept.largest_context_bytes(parameters)
