"""What exits cost requests that ask none, on a model of this process: the figures, not their size."""

from collections.abc import Callable
from pathlib import Path

import pytest

from hetero import Runtime
from hetero.bench.exits_off import measure_off, summary


def test_two_runtimes_are_compared_round_by_round(checkpoint: Callable[..., Path]) -> None:
    model, told = str(checkpoint("bert-classifier")), list[str]()
    with (
        Runtime(model, precision="fp32", in_process=True, threads=1) as plain,
        Runtime(model, precision="fp32", in_process=True, threads=1) as other,
    ):
        rates = measure_off(plain, other, ["a text", "another one"], 2, 3, told.append)
        assert plain.stats().finished == other.stats().finished == 2 * 4
    assert len(rates.ratios) == 3 and min(rates.ratios) <= rates.ratio <= max(rates.ratios)
    assert told[-1] == "switched off, round 3 of 3"


def test_standard_error_is_of_the_mean() -> None:
    assert summary([1.0, 1.02]).standard_error == pytest.approx(0.01)
    assert summary([0.9]).standard_error == 0
