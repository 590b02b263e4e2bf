"""What every mechanism offers, and the reading of its parameters. Knows no distribution."""

import math
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from privacy.errors import MechanismError
from privacy.types import Charge, MechanismSpec

Floats = NDArray[np.floating]
Integers = NDArray[np.int64]


class Mechanism(Protocol):
    """A way of releasing an answer about an input under differential privacy, for any two inputs unless said otherwise.

    Each has a method of its own that releases (`release` for labels and vectors, `sample` for tokens). What a release
    costs depends on `count` alone, never on the data, so it is charged before anything is computed.
    """

    @property
    def name(self) -> str: ...

    @property
    def rho(self) -> float:
        """zCDP's rho of one release: one label, one vector, one token."""
        ...

    def charge(self, count: int) -> Charge:
        """The cost of `count` releases. Raises MechanismError unless `count` is at least 1."""
        ...


def check_count(count: int) -> int:
    """Raise MechanismError unless `count` is a whole number of at least 1."""
    if isinstance(count, bool) or not isinstance(count, int) or count < 1:
        raise MechanismError("a charge is for at least one release; ask for a whole number of 1 or more")
    return count


@dataclass(frozen=True, slots=True)
class Parameters:
    """The parameters of one spec, read with their bounds. Every message names the mechanism and the parameter."""

    spec: MechanismSpec

    def known(self, *names: str) -> None:
        """Raise MechanismError where a parameter is not one of `names`, or is given twice."""
        given = [name for name, _ in self.spec.parameters]
        for name in given:
            if name not in names:
                raise MechanismError(f"{self.spec.name} has no parameter {name!r}; it takes {', '.join(names)}")
        if len(set(given)) != len(given):
            raise MechanismError(f"{self.spec.name} has a parameter twice; keep one")

    def has(self, name: str) -> bool:
        return any(name == given for given, _ in self.spec.parameters)

    def positive(self, name: str, default: float | None = None, *, below: float = math.inf) -> float:
        """A finite number above 0 and below `below`."""
        value = self._value(name, default)
        if not (isinstance(value, int | float) and math.isfinite(value) and 0 < value < below):
            bound = "" if below == math.inf else f" and below {below:g}"
            raise MechanismError(f"{name} of {self.spec.name} must be a number above 0{bound}")
        return float(value)

    def whole(self, name: str, least: int, default: int | None = None) -> int:
        """A whole number of at least `least`."""
        value = self._value(name, default)
        if not (isinstance(value, int | float) and value >= least and float(value).is_integer()):
            raise MechanismError(f"{name} of {self.spec.name} must be a whole number of at least {least}")
        return int(value)

    def _value(self, name: str, default: float | None) -> float:
        if self.has(name):
            return self.spec[name]
        if default is None:
            raise MechanismError(f"{self.spec.name} needs the parameter {name}")
        return default
