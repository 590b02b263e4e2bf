"""From observations to a policy: temperatures and gates fitted, every measure ranked, the best one chosen.

Knows observations; thresholds come later, from other observations.
"""

from collections.abc import Sequence

import numpy as np

from adaptive.errors import CalibrationError
from adaptive.measures import Floats, Measure, answers, patience, probabilities
from adaptive.policy import ExitPolicy
from adaptive.ranking import auroc, fit_gate, fit_temperature
from adaptive.replay import Observations, all_scores

#: Fewer tell nothing about an order.
LEAST_SAMPLES = 50


def fit_policy(seen: Observations, measure: Measure = Measure.GATE) -> ExitPolicy:
    """Temperatures and gates of every exit, under `measure`. Raises CalibrationError for too few observations."""
    if len(seen) < LEAST_SAMPLES:
        raise CalibrationError(f"{len(seen)} texts are too few to fit exits; give at least {LEAST_SAMPLES}")
    full = seen.full_answers
    exits = range(len(seen.depths))
    temperatures = tuple(fit_temperature(_paired(seen.logits[:, index]), full) for index in exits)
    gates = tuple(tuple(_gate(seen, index, temperatures[index]).tolist()) for index in exits)
    return ExitPolicy(measure, seen.depths, temperatures, gates)


def _paired(logits: "np.ndarray[tuple[int, ...], np.dtype[np.floating]]") -> Floats:
    """A single logit as two classes."""
    found = np.asarray(logits, np.float64)
    return np.concatenate([np.zeros_like(found), found], axis=-1) if found.shape[-1] == 1 else found


def _gate(seen: Observations, index: int, temperature: float) -> Floats:
    logits = seen.logits[:, index]
    run = patience(answers(logits), seen.exit_answers[:, :index])
    return fit_gate(probabilities(logits, temperature), run, seen.agreement()[:, index])


def rank_measures(policy: ExitPolicy, seen: Observations) -> dict[Measure, tuple[float, ...]]:
    """For each measure the AUROC of "the exit's answer is the full one" at every exit."""
    agreement = seen.agreement()
    exits = range(len(seen.depths))
    return {measure: tuple(_auroc(_with(policy, measure), seen, agreement, index) for index in exits)
            for measure in Measure}  # fmt: skip


def _auroc(
    policy: ExitPolicy, seen: Observations, agreement: "np.ndarray[tuple[int, ...], np.dtype[np.bool_]]", index: int
) -> float:
    return auroc(all_scores(policy, seen, range(index + 1))[:, index], agreement[:, index])


def best_measure(ranks: dict[Measure, tuple[float, ...]], candidates: Sequence[Measure] = tuple(Measure)) -> Measure:
    """The measure with the highest mean AUROC over the exits; of equals the one that is named first."""
    return max(
        candidates, key=lambda measure: (round(float(np.mean(ranks[measure])), 4), -list(Measure).index(measure))
    )


def _with(policy: ExitPolicy, measure: Measure) -> ExitPolicy:
    return ExitPolicy(measure, policy.depths, policy.temperatures, policy.gates)
