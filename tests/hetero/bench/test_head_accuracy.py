"""The bench of heads on texts whose vectors are made up: what is lost at which epsilon, and what an attacker finds."""

from pathlib import Path

import numpy as np

from hetero.bench.head_accuracy import Accuracy, AccuracyTrial, Split
from hetero.bench.inversion import measure_identification, measure_inversion, usual_words
from hetero.head_training import Rows

WIDTH = 12


def split(seed: int, count: int) -> Split:
    """Two classes that a line separates."""
    random = np.random.default_rng(seed)
    classes = random.integers(0, 2, count)
    vectors = random.normal(0, 0.3, (count, WIDTH)) + np.outer(2 * classes - 1, np.eye(WIDTH)[0])
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    rows = Rows(tuple(f"text {index}" for index in range(count)), tuple("ab"[index] for index in classes))
    return Split(rows, vectors.astype(np.float32))


def test_accuracy_falls_with_epsilon_and_comes_back(minilm: Path) -> None:
    trial = AccuracyTrial(str(minilm), split(0, 800), split(1, 300), delta=1e-5)
    lines = {(line.mechanism, line.epsilon): line for line in trial.run((0.1, 30.0), lambda done, whole, text: None)}
    assert lines["none", None].accuracy > 0.95
    for name in ("randomised response", "exponential mechanism", "local DP, 2 numbers"):
        assert lines[name, 0.1].accuracy < 0.7
        assert lines[name, 30.0].accuracy > 0.75
    assert lines["DP-SGD head", 30.0] == Accuracy("DP-SGD head", 30.0, lines["DP-SGD head", 30.0].accuracy)
    assert lines["DP-SGD head", 30.0].accuracy > 0.95


def test_words_are_told_from_clean_vectors_and_not_from_noised_ones() -> None:
    random = np.random.default_rng(0)
    words = [f"word{letter}" for letter in "abcdefghijklmnopqrstuvwxyz"] * 4
    words = [f"{word}{'xyzw'[index // 26]}" for index, word in enumerate(words)]
    meanings = random.normal(size=(len(words), 64))

    def texts(count: int) -> tuple[list[str], np.ndarray]:
        chosen = random.integers(0, len(words), count)
        rows = meanings[chosen] / np.linalg.norm(meanings[chosen], axis=1, keepdims=True)
        return [f"the {words[index]}" for index in chosen], rows.astype(np.float32)

    clean, noised = measure_inversion(texts(6000), texts(2000), (1.0,))
    assert clean.recovered > 0.95
    assert noised.recovered < 3 * max(noised.chance, 0.01)


def test_known_text_is_told_from_a_weakly_noised_vector_alone() -> None:
    candidates = np.random.default_rng(0).normal(size=(64, 32)).astype(np.float32)
    strong, weak = measure_identification(candidates, (0.1, 200.0))
    assert strong.chance == 1 / 64
    assert strong.recovered < 4 * strong.chance
    assert weak.recovered > 0.95


def test_usual_words_are_those_of_most_texts() -> None:
    assert usual_words(["a dog", "the cat 7", "dog dog", "dog a"], 2) == ["dog", "a"]
