"""Parameter sets: the security of each by SEAL's own table, and refusal of everything else."""

import pytest

from privacy.errors import EncryptionError
from privacy.he.parameters import MOST_BITS, PARAMETER_SETS, ParameterSet, named_parameters, smallest_for
from privacy.he.sealing import levels, primes, seal, seal_context


@pytest.mark.parametrize("bits", MOST_BITS)
def test_bounds_are_those_of_seal(bits: int) -> None:
    level = {128: seal().SEC_LEVEL_TYPE.TC128, 192: seal().SEC_LEVEL_TYPE.TC192}[bits]
    for degree, most in MOST_BITS[bits].items():
        assert seal().CoeffModulus.MaxBitCount(degree, level) == most


@pytest.mark.parametrize("name", PARAMETER_SETS)
def test_every_set_has_its_security_and_its_primes(name: str) -> None:
    parameters = named_parameters(name)
    assert parameters.security_bits == (192 if name in {"ckks-8192-1-s192", "ckks-16384-3"} else 128)
    assert (
        sum(prime.bit_length() for prime in primes(parameters))
        <= MOST_BITS[parameters.security_bits][parameters.degree]
    )
    assert len(levels(parameters)) == parameters.depth + 1


@pytest.mark.parametrize("name", ["", "ckks-4096-1", "CKKS-8192-1", "none"])
def test_other_names_are_refused(name: str) -> None:
    with pytest.raises(EncryptionError, match="no parameter set of that name"):
        named_parameters(name)


def test_weak_parameters_are_refused_before_seal_sees_them() -> None:
    weak = ParameterSet("weak", 4096, (60, 40, 60), 40)
    assert weak.security_bits == 0
    with pytest.raises(EncryptionError, match="weaker than 128 bits"):
        seal_context(weak)


def test_the_cheapest_set_of_a_depth_is_taken() -> None:
    assert [smallest_for(depth).name for depth in (1, 3, 5)] == ["ckks-8192-1", "ckks-8192-3", "ckks-16384-5"]
    with pytest.raises(EncryptionError, match="too deep"):
        smallest_for(6)
