"""Whether to stop here: a measure, what was fitted for each exit, and limits that a row's score must reach.

Knows what an exit sees; knows neither who certified the limits (`certify.py`) nor what stopping saves.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from adaptive.errors import AdaptiveError
from adaptive.measures import Floats, Measure, answers, patience, probabilities, scores

#: A limit that no score reaches.
NEVER = float("inf")


@dataclass(frozen=True, slots=True)
class ExitView:
    """What the exit number `index` sees of N rows.

    `logits`: float [N, C]. `earlier`: int64 [N, index], the answers of the exits before, -1 where one was not asked.
    `saturation`: float [N], the cosine between the pooled states at this exit and at the cut before it.
    """

    index: int
    logits: NDArray[np.floating]
    earlier: NDArray[np.int64]
    saturation: NDArray[np.floating]


@dataclass(frozen=True, slots=True)
class ExitPolicy:
    """One measure over exits at `depths`, with a temperature and for `Measure.GATE` five weights for each of them."""

    measure: Measure
    depths: tuple[int, ...]
    temperatures: tuple[float, ...]
    gates: tuple[tuple[float, ...], ...] = ()

    def __post_init__(self) -> None:
        counts = {len(self.depths), len(self.temperatures)} | ({len(self.gates)} if self.gates else set())
        if len(counts) != 1 or any(not temperature > 0 for temperature in self.temperatures):
            raise AdaptiveError(
                "a policy needs one positive temperature, and where it has gates one gate, for each exit"
            )
        if self.measure is Measure.GATE and not self.gates:
            raise AdaptiveError("a policy by learned gates needs their weights; calibrate again")

    def score(self, view: ExitView) -> Floats:
        """How safe it is to stop, [N], higher is safer."""
        shares = probabilities(view.logits, self.temperatures[view.index])
        looks_back = self.measure in (Measure.PATIENCE, Measure.GATE)
        run = patience(answers(view.logits), view.earlier) if looks_back else np.zeros(len(shares))
        gate = np.array(self.gates[view.index]) if self.gates else None
        return scores(self.measure, shares, run, np.asarray(view.saturation, np.float64), gate)

    def decide(self, view: ExitView, limits: NDArray[np.floating]) -> NDArray[np.bool_]:
        """Which of the N rows stop here: those whose score reaches their limit, [N]."""
        stops: NDArray[np.bool_] = self.score(view) >= np.asarray(limits, np.float64)
        return stops

    def document(self) -> dict[str, object]:
        """As JSON has it; `policy_of` reads it back."""
        return {
            "measure": str(self.measure),
            "depths": list(self.depths),
            "temperatures": list(self.temperatures),
            "gates": [list(gate) for gate in self.gates],
        }


def policy_of(document: Mapping[str, object]) -> ExitPolicy:
    """Raises AdaptiveError where the document is no policy."""
    try:
        return ExitPolicy(
            Measure(str(document["measure"])),
            tuple(int(depth) for depth in document["depths"]),  # type: ignore[attr-defined]
            tuple(float(value) for value in document["temperatures"]),  # type: ignore[attr-defined]
            tuple(tuple(float(weight) for weight in gate) for gate in document.get("gates", ())),  # type: ignore[attr-defined]
        )
    except (KeyError, TypeError, ValueError) as error:
        raise AdaptiveError(f"the policy of the exits cannot be read ({error!r}); calibrate again") from None
