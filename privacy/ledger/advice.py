"""Tighter totals than the enforced one, for information: Opacus' PRV and RDP accountants where they apply.

They know Gaussians only, and a budget must not be stopped on them while its releases are chosen adaptively. Knows
neither accounts nor caps.
"""

import math
import warnings
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from privacy.types import Event

#: How far Opacus' PRV accountant may be off; its upper end is what is shown.
_PRV_EPSILON_ERROR = 0.01


@dataclass(frozen=True, slots=True)
class Advice:
    """Epsilon at a delta by other accountants; None where one does not apply, and then `note` says why."""

    prv_epsilon: float | None
    rdp_epsilon: float | None
    note: str


def advise(events: Iterable[Event], delta: float) -> Advice:
    """What the releases together come to at delta. Never to be enforced on."""
    found = list(events)
    kinds = {event.kind for event in found}
    if not found or not delta > 0.0:
        return Advice(None, None, "nothing was released, or delta is 0")
    if others := sorted(kinds - {"gaussian", "discrete-gaussian"}):
        return Advice(None, None, f"none: these accountants know Gaussians only, not {', '.join(others)}")
    if "discrete-gaussian" in kinds:
        # The discrete Gaussian satisfies the Gaussian's Renyi bound (Canonne et al., 2020), not its exact curve.
        return Advice(None, _rdp(found, delta), "PRV: none, as it holds for continuous Gaussians only")
    return Advice(_prv(found, delta), _rdp(found, delta), "")


def _rdp(events: list[Event], delta: float) -> float:
    from opacus.accountants import RDPAccountant

    accountant = RDPAccountant()
    accountant.history = _history(events)
    with warnings.catch_warnings():
        # It warns where the best order is the last of its grid; the bound holds all the same.
        warnings.simplefilter("ignore")
        return float(accountant.get_epsilon(delta))


def _prv(events: list[Event], delta: float) -> float | None:
    from opacus.accountants import PRVAccountant

    accountant = PRVAccountant()
    accountant.history = _history(events)
    with np.errstate(divide="ignore"):
        # Without subsampling it takes the logarithm of 1 - 1.
        epsilon = float(accountant.get_epsilon(delta, eps_error=_PRV_EPSILON_ERROR, delta_error=delta / 1000.0))
    return epsilon if math.isfinite(epsilon) else None


def _history(events: list[Event]) -> list[tuple[float, float, int]]:
    """Opacus' form: (noise multiplier, sample rate, steps)."""
    return [(dict(event.parameters)["noise_multiplier"], 1.0, event.count) for event in events]
