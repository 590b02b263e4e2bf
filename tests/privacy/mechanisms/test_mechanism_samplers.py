"""The samplers: their distributions at 10^6 draws, what audits prove of them, and that no sample comes twice."""

import os
import pickle
import threading
from collections.abc import Callable

import numpy as np
import pytest

from privacy.mechanisms import (
    BoundedTokens,
    DocumentTokens,
    ExponentialLabels,
    GaussianVectors,
    RandomisedResponse,
    exact,
)
from privacy.mechanisms.bounds import chi_square_p, epsilon_lower_bound, mu_lower_bound
from privacy.mechanisms.grids import bound_logits
from privacy.mechanisms.pools import Pool
from privacy.mechanisms.trials import (
    audit_bounded,
    audit_documents,
    audit_response,
    audit_vectors,
    gaussian_probabilities,
    selection_probabilities,
)

DRAWS = 1_000_000
#: A second sample decides where the first falls below, as one in a thousand does by chance.
ENOUGH = 1e-3


def passes_chi_square(draw: Callable[[int], np.ndarray], probabilities: np.ndarray) -> bool:
    for _ in range(2):
        counts = np.bincount(draw(DRAWS), minlength=len(probabilities)).astype(float)
        if chi_square_p(counts, probabilities) > ENOUGH:
            return True
    return False


def test_randomised_response_has_its_distribution() -> None:
    mechanism = RandomisedResponse(1.5, 5)
    logits = np.broadcast_to(np.eye(5)[3], (DRAWS, 5))
    wanted = np.full(5, (1 - mechanism.truth) / 4)
    wanted[3] = mechanism.truth
    assert passes_chi_square(lambda count: mechanism.release(logits[:count]), wanted)


def test_exponential_mechanism_has_its_distribution() -> None:
    mechanism = BoundedTokens(2.0, 1.3)
    scores = bound_logits(np.array([1.0, 0.2, -0.7, -9.0, np.nan]), mechanism.clip)
    wanted = selection_probabilities(scores, mechanism.checked_scale)
    assert passes_chi_square(lambda count: exact.select_many(scores, mechanism.checked_scale, count), wanted)


def test_discrete_gaussian_has_its_distribution() -> None:
    scale, reach = 6.7, 60
    wanted = gaussian_probabilities(scale, reach)
    assert passes_chi_square(lambda count: exact.gaussian_noise(scale, count) + reach, wanted)


def test_a_draw_of_one_token_is_one_of_many() -> None:
    """`select`, which the product calls, and `select_many`, which these tests call, draw from the same."""
    scores = bound_logits(np.array([1.0, 0.5, 0.0]), 1.0)
    scale = BoundedTokens(1.0, 1.0).checked_scale
    singles = np.bincount([exact.select(scores, scale) for _ in range(20_000)], minlength=3).astype(float)
    assert chi_square_p(singles, selection_probabilities(scores, scale)) > 1e-6


def test_noise_of_a_vector_is_spread_as_declared() -> None:
    mechanism = GaussianVectors(1.0, 0.7)
    released = mechanism.release(np.zeros((64, 384)))
    assert np.std(released) == pytest.approx(mechanism.scale_steps(384) * mechanism.grid, rel=0.03)
    steps = released.astype(np.float64) / mechanism.grid
    assert (steps == np.rint(steps)).all()


@pytest.mark.parametrize("strength", [1.0, 0.5])
@pytest.mark.parametrize(
    "audit",
    [
        pytest.param(lambda share: audit_response(2.0, 4, 100_000, share), id="randomised-response"),
        pytest.param(lambda share: audit_bounded(ExponentialLabels(2.0, 4.0), 20_000, share), id="exponential"),
        pytest.param(lambda share: audit_bounded(BoundedTokens(1.0, 4.0), 20_000, share), id="bounded-logits"),
        pytest.param(lambda share: audit_documents(2.0, 4, 20_000, share), id="private-documents"),
        pytest.param(lambda share: audit_vectors(4.9, 60_000, share), id="discrete-gaussian"),
    ],
)
def test_audit_confirms_the_claim_and_catches_half_the_noise(audit: Callable[[float], object], strength: float) -> None:
    assert audit(strength).holds == (strength == 1.0)  # type: ignore[attr-defined]


def test_mu_test_catches_nine_tenths_of_the_noise() -> None:
    assert audit_vectors(0.7, 60_000).holds
    assert not audit_vectors(0.7, 60_000, 0.9).holds


def test_lower_bounds_of_equal_sides_are_about_nothing() -> None:
    random = np.random.default_rng(0)
    labels = random.integers(0, 4, (2, 50_000))
    assert epsilon_lower_bound(labels[0], labels[1]) < 0.02
    numbers = random.normal(size=(2, 50_000))
    assert mu_lower_bound(numbers[0], numbers[1]) < 0.02


def in_children(work: Callable[[], np.ndarray], count: int) -> list[np.ndarray]:
    """What `work` gives in `count` forked children of this process."""
    results = []
    for _ in range(count):
        reader, writer = os.pipe()
        if os.fork() == 0:
            try:
                os.write(writer, pickle.dumps(work()))
            finally:
                os._exit(0)
        os.close(writer)
        with os.fdopen(reader, "rb") as pipe:
            results.append(pickle.loads(pipe.read()))
        os.wait()
    return results


def test_no_sample_repeats_after_a_fork() -> None:
    """Samples so wide that two equal ones among a few thousand are out of the question."""
    pool = Pool(lambda count: exact.gaussian_noise(1e15, count), 2000)
    pool.fill()
    children = in_children(lambda: pool.take(200), 4)
    drawn = np.concatenate([pool.take(2000), *children])
    assert len(set(drawn.tolist())) == len(drawn) == 2800


def test_other_generators_differ_after_a_fork() -> None:
    def draw() -> np.ndarray:
        return np.concatenate([exact.bits(0.5, 512), exact.uniform_below(2**31, 32)])

    draws = [draw(), *in_children(draw, 4)]
    assert len({tuple(numbers[:512]) for numbers in draws}) == 5
    assert len({tuple(numbers[512:]) for numbers in draws}) == 5


def test_pool_gives_each_sample_once_to_many_threads() -> None:
    lock, counter = threading.Lock(), [0]

    def draw(count: int) -> np.ndarray:
        with lock:
            counter[0] += count
            return np.arange(counter[0] - count, counter[0])

    pool, taken = Pool(draw, 64), []
    workers = [threading.Thread(target=lambda: taken.extend(pool.take(7).tolist() for _ in range(200))) for _ in "1234"]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    numbers = [number for batch in taken for number in batch]
    assert len(numbers) == 4 * 200 * 7 == len(set(numbers))


def test_pool_refills_off_the_callers_thread() -> None:
    threads: list[str] = []
    drawn = threading.Event()

    def draw(count: int) -> np.ndarray:
        threads.append(threading.current_thread().name)
        if threads[-1] == "noise-pool":
            drawn.set()
        return np.zeros(count, np.int64)

    pool = Pool(draw, 100)
    pool.fill()
    threads.clear()
    pool.take(60)
    assert drawn.wait(10)
    assert threads == ["noise-pool"]


def test_documents_move_the_text_and_one_cannot() -> None:
    """Eight documents that agree make their token likely; a single one among eight hardly does."""
    mechanism = DocumentTokens(clip=8.0, temperature=1.0, documents=8)
    public, loud = np.zeros(16), np.r_[0.0, 20.0, np.zeros(14)]

    def chance(documents: np.ndarray) -> float:
        ids, scores = mechanism.scores(public, documents)
        return float(selection_probabilities(scores, mechanism.checked_scale)[ids == 1][0])

    quiet = np.zeros((8, 16))
    one, all_of_them = quiet.copy(), quiet + loud
    one[3] = loud
    assert chance(quiet) == pytest.approx(1 / 16)
    assert chance(one) < np.exp(mechanism.eta) / 16
    assert chance(all_of_them) > 0.95
