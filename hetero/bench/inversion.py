"""Attacks on vectors that left a client: which words did the text have, and which of some known texts was it?

For words the attacker knows other texts with their clean vectors, and how much noise there is: ridge regression from
vector to words with the noise as its penalty, the best linear guess there is. Chance is guessing the commonest word
always. For texts he knows every one that it may have been: the nearest is the likeliest, and no attack does better.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hetero.batch import FloatArray
from privacy.mechanisms import GaussianVectors
from privacy.mechanisms.vectors import noise_multiplier_for

#: Words that are guessed are in so many of the attacker's texts at least, and in no more than this share of them.
LEAST_TEXTS, MOST_SHARE = 20, 0.02
DELTA = 1e-6
#: Texts that the second attack chooses among, and how often each is sent.
CANDIDATES, SENDINGS = 512, 8
Texts = tuple[Sequence[str], FloatArray]


@dataclass(frozen=True, slots=True)
class Inversion:
    """The share of texts of which the guessed word is one; `epsilon` None: from clean vectors."""

    epsilon: float | None
    recovered: float
    chance: float


def measure_inversion(known: Texts, attacked: Texts, epsilons: Sequence[float]) -> list[Inversion]:
    """The attack on clean vectors and on those of local DP, each vector by itself. Texts, and vectors [N, D].

    Nothing where the known texts are too few for any word to be usual among them.
    """
    vocabulary = _vocabulary(known[0])
    if not vocabulary:
        return []
    ours, theirs = _occurrences(known[0], vocabulary), _occurrences(attacked[0], vocabulary)
    chance = float(theirs[:, ours.sum(axis=0).argmax()].mean())
    found = [Inversion(None, _recovered(known[1], ours, attacked[1], theirs, 0.03), chance)]
    for epsilon in epsilons:
        mechanism = GaussianVectors(1.0, noise_multiplier_for(epsilon, DELTA))
        deviation = mechanism.scale_steps(known[1].shape[1]) * mechanism.grid
        noised = mechanism.release(attacked[1]).astype(np.float32)
        found.append(Inversion(epsilon, _recovered(known[1], ours, noised, theirs, deviation), chance))
    return found


def measure_identification(candidates: FloatArray, epsilons: Sequence[float]) -> list[Inversion]:
    """How often the attacker tells which of the `candidates`, vectors [N, D] of known texts, one noised vector is."""
    unit = candidates / np.linalg.norm(candidates, axis=1, keepdims=True)
    sent, found = np.tile(np.arange(len(unit)), SENDINGS), []
    for epsilon in epsilons:
        noised = GaussianVectors(1.0, noise_multiplier_for(epsilon, DELTA)).release(unit[sent])
        found.append(Inversion(epsilon, float(((noised @ unit.T).argmax(axis=1) == sent).mean()), 1 / len(unit)))
    return found


def usual_words(texts: Sequence[str], count: int) -> list[str]:
    """The words that most texts have, as texts of one word."""
    counts = Counter(word for text in texts for word in set(text.lower().split()) if word.isalpha())
    return [word for word, _ in counts.most_common(count)]


def _vocabulary(texts: Sequence[str]) -> dict[str, int]:
    counts = Counter(word for text in texts for word in set(text.lower().split()) if word.isalpha())
    kept = [word for word, count in counts.items() if LEAST_TEXTS <= count <= MOST_SHARE * len(texts)]
    return {word: place for place, word in enumerate(sorted(kept))}


def _occurrences(texts: Sequence[str], vocabulary: dict[str, int]) -> FloatArray:
    """Whether each text has each word, float32 [N, W]."""
    found = np.zeros((len(texts), len(vocabulary)), np.float32)
    for row, text in enumerate(texts):
        found[row, [vocabulary[word] for word in set(text.lower().split()) if word in vocabulary]] = 1
    return found


def _recovered(
    known: FloatArray, words: FloatArray, attacked: FloatArray, theirs: FloatArray, deviation: float
) -> float:
    centre, usual = known.mean(axis=0), words.mean(axis=0)
    rows = known - centre
    penalty = len(rows) * deviation**2 * np.eye(rows.shape[1])
    decoder = np.linalg.solve(rows.T @ rows + penalty, rows.T @ (words - usual))
    guesses = (usual + (attacked - centre) @ decoder).argmax(axis=1)
    return float(theirs[np.arange(len(guesses)), guesses].mean())
