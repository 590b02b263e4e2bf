"""How much faster an encoder answers with its exits than without any: the same texts, measured in turn.

The baseline is a runtime of its own whose stages have neither heads nor cuts. Knows runtimes, texts and labels.
"""

import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median

import numpy as np

from adaptive.modes import AdaptiveChoice, ExitMode
from hetero.batch import FloatArray, IntArray
from hetero.encoding import Vectors
from hetero.runtime import Runtime

#: Texts of one call, in batches, and calls in flight: enough that no batch waits for texts, or for more of one length.
_BATCHES_A_CALL, _CALLS = 8, 12
_SETTLE_SECONDS = 0.2


@dataclass(frozen=True, slots=True)
class Pass:
    """All texts once: seconds, class logits [N, C], and the depth of each [N]."""

    seconds: float
    logits: FloatArray
    depths: IntArray

    @property
    def answers(self) -> FloatArray:
        found: FloatArray = self.logits.argmax(axis=1)
        return found


@dataclass(frozen=True, slots=True)
class ExitRates:
    """Texts a second without heads, with exits, and with exits loaded and switched off: medians of the rounds.

    `speedup` and `off_ratio` are medians of each round's ratio to the mean of its two passes without heads; `noise` has
    the ratios of those two to each other: what the machine does by itself. `disagreement`: of answers with exits from
    those without heads. `mean_depth` in blocks. Accuracies are None without labels.
    """

    batch: int
    full_texts_per_second: float
    exit_texts_per_second: float
    off_texts_per_second: float
    speedup: float
    off_ratio: float
    speedups: tuple[float, ...]
    off_ratios: tuple[float, ...]
    noise: tuple[float, ...]
    disagreement: float
    mean_depth: float
    depths: dict[int, int]
    full_accuracy: float | None
    exit_accuracy: float | None


def measure_exits(
    plain: Runtime,
    exiting: Runtime,
    texts: Sequence[str],
    labels: Sequence[int] | None,
    batch: int,
    rounds: int,
    tell: Callable[[str], None],
) -> ExitRates:
    """Run all texts through both runtimes, in turn, `rounds` times after a warm-up; the baseline twice each time."""
    off = AdaptiveChoice(ExitMode.OFF)
    kinds: tuple[tuple[Runtime, AdaptiveChoice | None], ...] = (
        (plain, off), (exiting, None), (exiting, off), (plain, off)
    )  # fmt: skip
    found: list[list[Pass]] = []
    for number in range(rounds + 1):
        tell(f"round {number} of {rounds}, batch {batch}")
        # Every other round backwards, so that drift of the machine favours none.
        order = range(4) if number % 2 else range(3, -1, -1)
        passes = {index: run_texts(*kinds[index], texts, batch) for index in order}
        found.append([passes[index] for index in range(4)])
    return _rates(found[1:], labels, batch)


def run_texts(runtime: Runtime, choice: AdaptiveChoice | None, texts: Sequence[str], batch: int) -> Pass:
    """All texts once; audits that they leave behind run after the clock has stopped."""
    size = batch * _BATCHES_A_CALL
    waiting: deque[Vectors] = deque()
    done: list[Vectors] = []
    begun = time.perf_counter()
    for begin in range(0, len(texts), size):
        if len(waiting) == _CALLS:
            waiting[0].result()
            done.append(waiting.popleft())
        waiting.append(runtime.submit_classification(texts[begin : begin + size], choice))
    done.extend(waiting)
    logits = np.concatenate([each.result() for each in done])
    seconds = time.perf_counter() - begun
    # Audits run when nobody waits: they belong to no one's time.
    time.sleep(_SETTLE_SECONDS)
    while runtime.stats().batches_in_flight:
        time.sleep(_SETTLE_SECONDS)
    return Pass(seconds, logits, np.concatenate([each.depths for each in done]))


def _rates(rounds: Sequence[Sequence[Pass]], labels: Sequence[int] | None, batch: int) -> ExitRates:
    full, exits, off, again = ([each[index] for each in rounds] for index in range(4))
    count = len(full[0].depths)
    plain = [(one.seconds + other.seconds) / 2 for one, other in zip(full, again, strict=True)]
    speedups = tuple(seconds / fast.seconds for seconds, fast in zip(plain, exits, strict=True))
    off_ratios = tuple(seconds / slow.seconds for seconds, slow in zip(plain, off, strict=True))
    depths, times = np.unique(exits[0].depths, return_counts=True)
    wanted = None if labels is None else np.asarray(labels)
    exit_rate, off_rate = (count / median(each.seconds for each in kind) for kind in (exits, off))
    return ExitRates(
        batch,
        count / median(plain),
        exit_rate,
        off_rate,
        median(speedups),
        median(off_ratios),
        speedups,
        off_ratios,
        tuple(one.seconds / other.seconds for one, other in zip(full, again, strict=True)),
        float((exits[0].answers != full[0].answers).mean()),
        float(exits[0].depths.mean()),
        dict(zip(depths.tolist(), times.tolist(), strict=True)),
        None if wanted is None else float((full[0].answers == wanted).mean()),
        None if wanted is None else float((exits[0].answers == wanted).mean()),
    )
