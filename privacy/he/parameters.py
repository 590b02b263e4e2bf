"""The parameter sets that are used, by name, and the security each has. Anything else is refused.

Knows bits; neither keys nor layers. The bounds are those of the Homomorphic Encryption Standard (Albrecht et al., 2018,
https://homomorphicencryption.org/standard) for ternary secrets, as SEAL's `hestdparms.h` lists them: the most bits that
all primes together may have at a degree.
"""

from dataclasses import dataclass

from privacy.errors import EncryptionError

#: Security in bits to the most coefficient bits by degree.
MOST_BITS: dict[int, dict[int, int]] = {
    128: {4096: 109, 8192: 218, 16384: 438, 32768: 881},
    192: {4096: 75, 8192: 152, 16384: 305, 32768: 611},
}


@dataclass(frozen=True, slots=True)
class ParameterSet:
    """One CKKS parameter set. The last prime serves key switching alone; the first holds what is decrypted."""

    name: str
    degree: int
    prime_bits: tuple[int, ...]
    scale_bits: int

    @property
    def slots(self) -> int:
        """Numbers that one ciphertext holds."""
        return self.degree // 2

    @property
    def depth(self) -> int:
        """Multiplications, by a weight or by itself, that a value may pass in a row."""
        return len(self.prime_bits) - 2

    @property
    def scale(self) -> float:
        return float(2**self.scale_bits)

    @property
    def largest_value(self) -> float:
        """No value may exceed this in magnitude at the last level, or it wraps: a quarter of what the prime holds."""
        return float(2 ** (self.prime_bits[0] - self.scale_bits - 2))

    @property
    def security_bits(self) -> int:
        """192, 128, or 0 where the set is weaker than 128."""
        total = sum(self.prime_bits)
        return max((bits for bits, table in MOST_BITS.items() if total <= table.get(self.degree, 0)), default=0)


_SETS = (
    ParameterSet("ckks-8192-1", 8192, (60, 40, 60), 40),
    ParameterSet("ckks-8192-1-s192", 8192, (54, 40, 58), 40),
    ParameterSet("ckks-8192-3", 8192, (50, 38, 38, 38, 50), 38),
    ParameterSet("ckks-16384-3", 16384, (60, 40, 40, 40, 60), 40),
    ParameterSet("ckks-16384-5", 16384, (60, 40, 40, 40, 40, 40, 60), 40),
)
PARAMETER_SETS: dict[str, ParameterSet] = {each.name: each for each in _SETS}


def named_parameters(name: str) -> ParameterSet:
    """The set of this name. Raises EncryptionError where there is none, or it is weaker than 128 bits."""
    found = PARAMETER_SETS.get(name)
    if found is None:
        raise EncryptionError(f"there is no parameter set of that name; the sets are {', '.join(PARAMETER_SETS)}")
    return require_secure(found)


def require_secure(parameters: ParameterSet) -> ParameterSet:
    """`parameters` itself. Raises EncryptionError where its security is below 128 bits."""
    if parameters.security_bits < 128:
        raise EncryptionError(f"the parameter set {parameters.name} is weaker than 128 bits; use a named one")
    return parameters


def smallest_for(depth: int) -> ParameterSet:
    """The cheapest set of at least this depth. Raises EncryptionError where none is deep enough."""
    for parameters in _SETS:
        if parameters.depth >= depth:
            return parameters
    raise EncryptionError(
        f"a head of multiplicative depth {depth} is too deep; the deepest set allows {_SETS[-1].depth}"
    )
