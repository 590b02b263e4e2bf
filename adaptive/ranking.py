"""Chooses a measure by how well it tells an exit's right answers from its wrong ones, and fits what has parameters.

Calibration of probabilities is not the aim: order is. Temperatures make exits comparable under one threshold.
Knows arrays over samples; knows no thresholds.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize, minimize_scalar
from scipy.stats import rankdata

from adaptive.measures import Floats, features, probabilities

_TEMPERATURES = (0.05, 20.0)
_GATE_PENALTY = 1e-2


def auroc(score: Floats, right: NDArray[np.bool_]) -> float:
    """The probability that a right answer scores above a wrong one, ties counting half; 0.5 where there is one kind.

    The Mann-Whitney statistic.
    """
    positives, negatives = int(right.sum()), int((~right).sum())
    if not positives or not negatives:
        return 0.5
    ranks = rankdata(score)
    return float((ranks[right].sum() - positives * (positives + 1) / 2) / (positives * negatives))


def fit_temperature(logits: NDArray[np.floating], full_answers: NDArray[np.int64]) -> float:
    """The temperature under which the full model's answers are likeliest at this exit (Guo et al. 2017)."""

    def loss(log_temperature: float) -> float:
        shares = probabilities(logits, float(np.exp(log_temperature)))
        chosen = shares[np.arange(len(shares)), full_answers]
        return float(-np.log(np.maximum(chosen, 1e-12)).mean())

    low, high = np.log(_TEMPERATURES)
    return float(np.exp(minimize_scalar(loss, bounds=(low, high), method="bounded").x))


def fit_gate(shares: Floats, run: Floats, right: NDArray[np.bool_]) -> Floats:
    """Weights [5] of a logistic gate on `features` that tells right answers from wrong ones; with a ridge penalty."""
    x = features(shares, run)
    signs = np.where(right, 1.0, -1.0)

    def loss(weights: Floats) -> tuple[float, Floats]:
        along = signs * (x @ weights)
        slope = -signs / (1 + np.exp(np.clip(along, -60, 60)))
        value = np.logaddexp(0, -along).mean() + _GATE_PENALTY * float(weights[1:] @ weights[1:])
        gradient = x.T @ slope / len(x) + 2 * _GATE_PENALTY * np.concatenate([[0.0], weights[1:]])
        return float(value), gradient

    found = minimize(loss, np.zeros(x.shape[1]), jac=True, method="L-BFGS-B")
    weights: Floats = found.x
    return weights
