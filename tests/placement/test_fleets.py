"""The table of baselines on simulated fleets of measured GPUs."""

import json
from pathlib import Path

import pytest

from placement.fleets import FLEETS, OURS, compare, main
from placement.problem import Objective

TABLES = Path(__file__).parent.parent / "data" / "placement" / "helix" / "layer_times.json"


@pytest.mark.parametrize("objective", [Objective.LATENCY, Objective.THROUGHPUT])
@pytest.mark.parametrize("fleet", FLEETS, ids=lambda fleet: fleet.name)
def test_no_rule_gives_a_better_plan_than_ours(fleet, objective):
    row = compare(fleet, json.loads(TABLES.read_text()), objective)
    assert set(row.values) == {"one device", "accelerate-style", "by memory", "even", OURS}
    # Up to the difference within which the plan of fewer stages is taken.
    assert row.gain >= -0.05
    assert all(value is not None or row.refusals[name] == "memory" for name, value in row.values.items())


def test_command_says_that_the_fleets_are_simulated(capsys):
    main([str(TABLES)])
    said = capsys.readouterr().out
    assert said.startswith("SIMULATED fleets of measured GPUs") and said.count("\n") == 2 * len(FLEETS) + 3
