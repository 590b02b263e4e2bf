"""What a decision's mechanism makes of an answer: a label in place of scores, a noised vector, bounded sampling.

Knows mechanisms by what they do (`privacy.mechanisms`) and our own answers; neither messages nor budgets. What cannot
be released under a mechanism is refused by the checks here, before anything is charged or computed.
"""

from dataclasses import replace
from functools import lru_cache

import numpy as np

from hetero.batch import FloatArray
from hetero.errors import InvalidRequestError
from hetero.heads import Head
from hetero.types import ClassScores, SamplingParams
from hetero.validation import check_private
from privacy.errors import MechanismError
from privacy.local import check_arrived, vector_mechanism
from privacy.mechanisms import (
    BoundedTokens,
    DocumentTokens,
    ExponentialLabels,
    GaussianVectors,
    RandomisedResponse,
    mechanism_for,
)
from privacy.mechanisms.base import Mechanism
from privacy.types import Decision, MechanismSpec, Protection


@lru_cache(maxsize=64)
def kept_mechanism(spec: MechanismSpec) -> Mechanism:
    """The mechanism of `spec`, one for the whole process: it keeps noise that was drawn ahead of time."""
    return mechanism_for(spec)


def warm(mechanism: Mechanism, width: int) -> None:
    """Load the sampler and draw noise ahead of time; vectors have `width` numbers. Raises MechanismError."""
    if isinstance(mechanism, RandomisedResponse | ExponentialLabels):
        mechanism.release(np.zeros((1, mechanism.labels if isinstance(mechanism, RandomisedResponse) else 2)))
    elif isinstance(mechanism, GaussianVectors):
        mechanism.fill(width)
    elif isinstance(mechanism, BoundedTokens):
        mechanism.sample(np.zeros(2))
    elif isinstance(mechanism, DocumentTokens):
        mechanism.sample(np.zeros(2), np.zeros((1, 2)))


def output_mechanism(decision: Decision) -> Mechanism | None:
    """What the answer must pass through; None where it may leave as it is. Raises MechanismError for a missing one."""
    if decision.protection is not Protection.OUTPUT_DP:
        return None
    if decision.mechanism is None:
        raise MechanismError("the policy asks for output-dp and names no mechanism; add one to its rule")
    return kept_mechanism(decision.mechanism)


def check_labels(mechanism: Mechanism | None, labels: tuple[str, ...]) -> None:
    """Raise MechanismError where the mechanism cannot choose among `labels`."""
    if mechanism is None:
        return
    if not isinstance(mechanism, RandomisedResponse | ExponentialLabels):
        raise MechanismError(f"{mechanism.name} chooses no labels; name a mechanism for labels in the policy")
    wanted = mechanism.labels if isinstance(mechanism, RandomisedResponse) else None
    if len(labels) < 2 or wanted not in (None, len(labels)):
        raise MechanismError(f"the model has {len(labels)} labels, which {mechanism.name} is not set up for")


def private_labels(mechanism: Mechanism, logits: FloatArray, labels: tuple[str, ...]) -> list[ClassScores]:
    """One label for each row of class logits [N, C], and no probabilities: these would tell what the noise hides."""
    assert isinstance(mechanism, RandomisedResponse | ExponentialLabels)
    return [ClassScores((labels[index],), ()) for index in mechanism.release(logits).tolist()]


def check_vectors(mechanism: Mechanism | None) -> None:
    """Raise MechanismError where the mechanism does not noise vectors."""
    if mechanism is not None and not isinstance(mechanism, GaussianVectors):
        raise MechanismError(f"{mechanism.name} does not noise vectors; name a mechanism for vectors in the policy")


def private_vectors(mechanism: Mechanism | None, vectors: FloatArray) -> FloatArray:
    """Clipped, gridded, noised rows [N, D]; the rows as they are where there is no mechanism."""
    if mechanism is None:
        return vectors
    assert isinstance(mechanism, GaussianVectors)
    noised: FloatArray = mechanism.release(vectors)
    return noised


def private_sampling(mechanism: Mechanism | None, sampling: SamplingParams) -> SamplingParams:
    """How the tokens are to be drawn: by the mechanism's clip and temperature, whatever temperature was asked for.

    Raises InvalidRequestError where the caller asks for what the noise would not cover, MechanismError where the
    mechanism draws no tokens by itself.
    """
    if mechanism is None:
        return sampling
    if not isinstance(mechanism, BoundedTokens):
        raise MechanismError(
            f"{mechanism.name} needs documents, which the server was not given: start it with --documents, or name "
            "bounded-logits in the policy"
        )
    if sampling.temperature not in (0.0, mechanism.temperature):
        raise InvalidRequestError("the policy sets the temperature of a private completion; leave it out")
    private = replace(sampling, temperature=mechanism.temperature, private_clip=mechanism.clip)
    check_private(private)
    return private


def check_rows(rows: FloatArray, head: Head) -> None:
    """Raise InvalidRequestError unless the head takes rows of this width."""
    if rows.shape[1] != head.card.shape.inputs:
        raise InvalidRequestError(f"the head takes rows of {head.card.shape.inputs} numbers, not {rows.shape[1]}")


def check_claim(claimed: MechanismSpec, decision: Decision) -> None:
    """Raise InvalidRequestError unless the client says that it added the policy's noise, or more of the same kind."""
    wanted, made = _wanted(decision), _claimed(claimed)
    if made.clip != wanted.clip or made.grid != wanted.grid or made.noise_multiplier < wanted.noise_multiplier:
        raise InvalidRequestError(
            f"the vectors were noised with clip {made.clip:g}, grid {made.grid:g} and noise multiplier "
            f"{made.noise_multiplier:g}; the policy wants {wanted.clip:g}, {wanted.grid:g} and "
            f"{wanted.noise_multiplier:g} at least"
        )


def check_noised(rows: FloatArray, decision: Decision) -> None:
    """Raise MechanismError where rows [N, D] cannot have come from the policy's mechanism."""
    assert decision.mechanism is not None
    check_arrived(rows, decision.mechanism, rows.shape[1])


def _wanted(decision: Decision) -> GaussianVectors:
    if decision.mechanism is None:
        raise MechanismError("the policy asks for local-dp and names no mechanism; add one to its rule")
    return vector_mechanism(decision.mechanism)


def _claimed(spec: MechanismSpec) -> GaussianVectors:
    try:
        return vector_mechanism(spec)
    except MechanismError as error:
        raise InvalidRequestError(f"the vectors' mechanism is not one: {error}") from None
