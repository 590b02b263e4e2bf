"""The one door to TenSEAL's bindings of SEAL: contexts of named parameters, and objects to bytes and back.

SEAL's bindings read and write files only, so bytes go through files in memory, which no disk ever sees. Loading checks
what SEAL checks; who sent the bytes is not known here, so untrusted ones are loaded in the worker alone.
"""

import importlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

from privacy.errors import EncryptionError
from privacy.he.parameters import ParameterSet, require_secure


@lru_cache(maxsize=1)
def seal() -> Any:
    """`tenseal.sealapi`. Raises EncryptionError where TenSEAL is not installed."""
    return _imported("tenseal.sealapi")


@lru_cache(maxsize=1)
def tenseal() -> Any:
    """`tenseal`. Raises EncryptionError where it is not installed."""
    return _imported("tenseal")


def _imported(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError:
        raise EncryptionError("encrypted layers need the package tenseal; install it") from None


@lru_cache(maxsize=8)
def seal_context(parameters: ParameterSet) -> Any:
    """SEAL's context of a named set, made here and never of somebody's bytes; SEAL checks 128 bits once more."""
    require_secure(parameters)
    library = seal()
    wanted = library.EncryptionParameters(library.SCHEME_TYPE.CKKS)
    wanted.set_poly_modulus_degree(parameters.degree)
    wanted.set_coeff_modulus(library.CoeffModulus.Create(parameters.degree, list(parameters.prime_bits)))
    context = library.SEALContext(wanted, True, library.SEC_LEVEL_TYPE.TC128)
    if not context.parameters_set():
        raise EncryptionError(f"SEAL refuses the parameter set {parameters.name}")
    return context


@lru_cache(maxsize=8)
def levels(parameters: ParameterSet) -> tuple[Any, ...]:
    """Identities of the levels, the first that a fresh ciphertext has."""
    found, data = [], seal_context(parameters).first_context_data()
    while data is not None:
        found.append(data.parms_id())
        data = data.next_context_data()
    return tuple(found)


@lru_cache(maxsize=8)
def primes(parameters: ParameterSet) -> tuple[int, ...]:
    """The primes themselves, the first that the last level keeps first."""
    return tuple(prime.value() for prime in seal_context(parameters).key_context_data().parms().coeff_modulus())


def to_bytes(thing: Any) -> bytes:
    """What SEAL writes of a key or a ciphertext, compressed and, where it was made so, by its seed."""
    with _memory_file() as descriptor:
        thing.save(_path(descriptor))
        return os.pread(descriptor, os.fstat(descriptor).st_size, 0)


def load_into(thing: Any, blob: bytes, *context: Any) -> Any:
    """`thing` filled from bytes. Raises EncryptionError where SEAL cannot read or does not accept them."""
    with _memory_file() as descriptor:
        with open(descriptor, "wb", closefd=False) as file:
            file.write(blob)
        try:
            thing.load(*context, _path(descriptor))
        except Exception:
            raise EncryptionError(f"the bytes are no valid {type(thing).__name__} of these parameters") from None
    return thing


@contextmanager
def _memory_file() -> Iterator[int]:
    descriptor = os.memfd_create("hetero-he")
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _path(descriptor: int) -> str:
    return f"/proc/self/fd/{descriptor}"
