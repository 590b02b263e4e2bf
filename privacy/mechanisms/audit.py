"""`python -m privacy.mechanisms.audit`: audits every mechanism and its mutants, at 10^6 samples a side unless told.

Prints what was claimed, the 99.9 % lower bound that the samples prove, and whether noise that was made smaller is
found; exit code 1 where a claim does not hold or a mutant stays unseen.
"""

import argparse
from collections.abc import Callable, Iterator

from privacy.mechanisms.labels import ExponentialLabels
from privacy.mechanisms.tokens import BoundedTokens
from privacy.mechanisms.trials import Audit, audit_bounded, audit_documents, audit_response, audit_vectors

#: Each takes (samples a side, share of the noise). Multipliers of vectors are for about epsilon 1 and 8 at 10^-6.
TRIALS: dict[str, Callable[[int, float], Audit]] = {
    "randomised response, epsilon 2": lambda n, share: audit_response(2.0, 4, n, share),
    "exponential, epsilon 2": lambda n, share: audit_bounded(ExponentialLabels(2.0, 4.0), n, share),
    "bounded logits, eta 1": lambda n, share: audit_bounded(BoundedTokens(1.0, 4.0), n, share),
    "private documents, eta 2": lambda n, share: audit_documents(2.0, 4, n, share),
    "discrete Gaussian, multiplier 4.9": lambda n, share: audit_vectors(4.9, n, share),
    "discrete Gaussian, multiplier 0.7": lambda n, share: audit_vectors(0.7, n, share),
}
#: Shares of the noise that must be noticed: half of it always, and 0.9 for Gaussians of mu near 1 and above.
HALF, MOST = 0.5, 0.9


def run(samples: int) -> Iterator[tuple[str, float, Audit, bool]]:
    """Every trial at full strength and its mutants: title, share of the noise, the audit, and whether it is right."""
    for title, trial in TRIALS.items():
        for share in (1.0, HALF, MOST) if "0.7" in title else (1.0, HALF):
            audit = trial(samples, share)
            yield title, share, audit, audit.holds == (share == 1.0)


def main(arguments: list[str] | None = None) -> int:
    """Run all trials and print a line each."""
    parser = argparse.ArgumentParser(prog="python -m privacy.mechanisms.audit", description=__doc__)
    parser.add_argument("--samples", type=int, default=1_000_000, help="samples a side of each trial")
    samples = parser.parse_args(arguments).samples
    print(f"{'mechanism':<36}{'noise':>7}{'claimed':>16}{'lower bound':>13}  verdict")
    wrong = 0
    for title, share, audit, right in run(samples):
        wrong += not right
        verdict = "holds" if audit.holds else "too little noise"
        claim = f"{audit.measure} {audit.claimed:.4f}"
        print(f"{title:<36}{share:>7.0%}{claim:>16}{audit.lower_bound:>13.4f}  {verdict}", flush=True)
    print(f"{samples} samples a side, bounds of 99.9 % confidence; {wrong} surprises")
    return int(wrong > 0)


if __name__ == "__main__":
    raise SystemExit(main())
