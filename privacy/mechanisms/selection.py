"""Drawing one of many in proportion to exp(score / temperature): the exponential mechanism, for labels and tokens.

Knows gridded integer scores and how far two of them may differ; not where scores come from.
"""

from functools import cached_property

from privacy.mechanisms import costs, exact
from privacy.mechanisms.base import Integers, check_count
from privacy.mechanisms.grids import LOGIT_STEPS
from privacy.types import Charge, Event


class Selection:
    """Scores in steps of which `steps_per_unit` make 1, each within 2 LOGIT_STEPS of the other input's.

    The log-ratios of two inputs' probabilities lie in a range of width eta = 4 LOGIT_STEPS / (steps_per_unit *
    temperature); from it follow eta-DP and rho (`costs.rho_of_bounded_range`).
    """

    name = "selection"

    def __init__(self, steps_per_unit: float, temperature: float) -> None:
        self.temperature = temperature
        self.steps_per_unit = steps_per_unit
        self._scale = temperature * steps_per_unit * (1 + costs.SLACK)

    @property
    def eta(self) -> float:
        """The width of the log-ratios' range, and the epsilon of pure DP, of one release."""
        return 4 * LOGIT_STEPS / (self.temperature * self.steps_per_unit)

    @property
    def rho(self) -> float:
        return costs.rho_of_bounded_range(self.eta)

    def charge(self, count: int) -> Charge:
        """The cost of at most `count` releases, of which all are charged: where a text ends depends on the data."""
        return Charge(self.rho * check_count(count), Event("exponential", (("epsilon", self.eta),), count))

    def choose(self, scores: Integers) -> int:
        """An index of `scores`, int64 [V]."""
        return exact.select(scores, self.checked_scale)

    @cached_property
    def checked_scale(self) -> float:
        """The scale of the Gumbel noise in steps, once OpenDP's map agreed that it costs what is declared."""
        mapped = exact.select_rho(self._scale, 2 * LOGIT_STEPS)
        exact.check_map(self.name, mapped, self.eta * self.eta / 8)
        return self._scale
