"""What a mechanism's parameters mean in zCDP's rho. Formulas alone; nothing is drawn or spent here."""

import math

#: Relative slack that keeps floating-point rounding on the safe side of a formula.
SLACK = 1e-12


def rho_of_pure_epsilon(epsilon: float) -> float:
    """The smallest rho that every epsilon-DP mechanism satisfies: epsilon * tanh(epsilon / 2), at most epsilon^2 / 2.

    Binary randomised response attains it, and every epsilon-DP pair is a post-processing of that
    (https://differentialprivacy.org/pdp-to-zcdp/).
    """
    return epsilon * math.tanh(epsilon / 2)


def rho_of_bounded_range(eta: float) -> float:
    """A rho for every mechanism whose log-probability ratios lie within a range of width `eta`.

    eta^2 / 8 (Cesar and Rogers, 2021, https://arxiv.org/abs/2004.07223), or what eta-DP grants, which is less from
    about eta = 8 on: a range of width eta holds 0, for both are distributions, so no ratio exceeds eta.
    For softmax(clip(l, -B, B) / tau) and any two inputs the log-ratio of a token is (u - v) / tau plus a constant of
    the pair, with u - v in [-2B, 2B]: eta = 4B / tau.
    """
    return min(eta * eta / 8, rho_of_pure_epsilon(eta))


def rho_of_gaussian(noise_multiplier: float) -> float:
    """1 / (2 z^2) for noise of z times the L2 sensitivity; the same for the discrete Gaussian on integers.

    Bun and Steinke, 2016, https://arxiv.org/abs/1605.02065; Canonne, Kamath, Steinke, 2020,
    https://arxiv.org/abs/2004.00010.
    """
    return 0.5 / (noise_multiplier * noise_multiplier)


def noise_multiplier_of_rho(rho: float) -> float:
    """The inverse of `rho_of_gaussian`."""
    return math.sqrt(0.5 / rho)
