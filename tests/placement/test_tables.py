"""Interpolated times against measured ones that were left out, and measurements that are refused."""

import json
import math
from pathlib import Path

import numpy as np
import pytest

from placement.errors import ProfileError
from placement.tables import TimeTable, fit_link, make_table

HELIX = Path(__file__).parent.parent / "data" / "placement" / "helix" / "layer_times.json"


def held_out_errors(rows: list[list[float]], name: str) -> list[float]:
    """Relative errors at every second point of a table fitted on the others."""
    rows = [row for row in rows if row[0] > 0]
    table = make_table({size: [value] for size, value in rows[::2]}, name)
    return [abs(table.at(size) - value) / value for size, value in rows[1::2]]


def test_half_of_each_measured_gpu_table_predicts_the_other_half():
    tables = json.loads(HELIX.read_text())
    errors = {name: float(np.mean(held_out_errors(rows, name))) for name, rows in tables.items()}
    assert len(errors) == 28
    # Mean error 2.1 % over the 28 tables, 6.1 % on the worst, whose times are rounded to whole milliseconds.
    assert np.mean(list(errors.values())) < 0.025
    assert max(errors.values()) < 0.07


def test_table_is_exact_at_its_points_and_straight_between_and_beyond():
    table = make_table({1: [1.0, 1.2, 1.1], 3: [2.1], 5: [3.1]}, "a layer")
    assert table.at(1) == pytest.approx(1.1)
    assert table.at(2) == pytest.approx(1.6)
    assert table.at(9) == pytest.approx(5.1)
    assert TimeTable((4.0,), (0.5,)).at(100) == 0.5


@pytest.mark.parametrize("seconds", [math.nan, math.inf, -1e-9])
def test_impossible_time_is_refused_with_its_name(seconds):
    with pytest.raises(ProfileError, match="the profile of cpu/torch holds"):
        make_table({1: [0.1, seconds]}, "cpu/torch")


def test_empty_profile_is_refused():
    with pytest.raises(ProfileError, match="is empty"):
        make_table({}, "a link")


def test_link_fit_recovers_latency_and_bandwidth():
    sizes = [2.0**k for k in range(8, 24, 2)]
    link = fit_link(make_table({size: [7e-5 + size / 2e9] for size in sizes}, "a link"))
    assert link.latency_seconds == pytest.approx(7e-5, rel=1e-3)
    assert link.bytes_per_second == pytest.approx(2e9, rel=1e-3)
    assert link.at(1e6) == pytest.approx(7e-5 + 5e-4, rel=1e-3)
