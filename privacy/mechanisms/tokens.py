"""Tokens from bounded logits: sampling as the exponential mechanism, each token charged.

Who reads the text learns little of the prompt, token by token; a long text says much all the same. It protects neither
the prompt from the server nor the training data from anyone.
"""

import numpy as np

from privacy.errors import MechanismError
from privacy.mechanisms.base import Floats
from privacy.mechanisms.grids import LOGIT_STEPS, bound_logits
from privacy.mechanisms.selection import Selection


class BoundedTokens(Selection):
    """Draws a token with probability proportional to exp(clipped logit / temperature).

    The highest logit is moved to +clip, what lies below -clip is raised to it; every token can be drawn. Between any
    two prompts the log-ratios' range is eta = 4 clip / temperature, so rho = eta^2 / 8 a token (Cesar and Rogers,
    2021, https://arxiv.org/abs/2004.07223), which adds up over tokens that each depend on those before.
    """

    name = "bounded-logits"

    def __init__(self, clip: float, temperature: float) -> None:
        super().__init__(LOGIT_STEPS / clip, temperature)
        self.clip = clip

    def sample(self, logits: Floats) -> int:
        """One token for logits [V] before any warper. Raises MechanismError for another shape."""
        row = np.asarray(logits, np.float64)
        if row.ndim != 1 or not len(row):
            raise MechanismError(f"token logits have shape {row.shape}; give one row of a vocabulary")
        return self.choose(bound_logits(row, self.clip))
