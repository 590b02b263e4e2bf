"""Encrypted models in this process: real keys, real ciphertexts, no worker."""

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from privacy.he import accept
from privacy.he.client import Sealer
from privacy.he.keys import SecretKeys
from privacy.he.model import EncodedModel
from privacy.he.parameters import ParameterSet, named_parameters
from privacy.he.planning import describe
from privacy.he.sealing import to_bytes
from privacy.he.spec import ModelSpec

Floats = NDArray[np.float64]


@pytest.fixture(scope="session")
def keys_of() -> Callable[[str], SecretKeys]:
    """Keys of a parameter set by name, made once a run."""
    made: dict[str, SecretKeys] = {}

    def give(name: str) -> SecretKeys:
        if name not in made:
            made[name] = SecretKeys(named_parameters(name))
        return made[name]

    return give


@pytest.fixture(scope="session")
def parameters() -> ParameterSet:
    return named_parameters("ckks-8192-1")


@pytest.fixture(scope="session")
def through_ciphertexts(keys_of: Callable[[str], SecretKeys]) -> Callable[[ModelSpec, Floats], Floats]:
    """Results of a model for [n, columns], each vector encrypted, computed on and decrypted, bytes in between."""

    def run(spec: ModelSpec, vectors: Floats) -> Floats:
        sealer = Sealer(describe(spec), keys_of(spec.parameters))
        bundle, model, chosen = sealer.bundle(), EncodedModel(spec), named_parameters(spec.parameters)
        galois = accept.accept_galois(bundle.galois, chosen)
        relinearisation = accept.accept_relinearisation(bundle.relinearisation, chosen)
        answers = [
            [to_bytes(answer) for answer in model(accept.accept_ciphertext(blob, chosen), galois, relinearisation)]
            for blob in sealer.seal(vectors)
        ]
        return sealer.open(answers, len(vectors))

    return run
