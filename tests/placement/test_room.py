"""The bounds against every way to share blocks out, and against the best plan that there is."""

from itertools import permutations, product

import numpy as np
import pytest

from placement.chain_search import ChainSearch
from placement.chain_tables import ChainTables
from placement.room import fewest_devices, least_by_length, least_largest, least_total, longest, room_left


def tables_of(seed: int, blocks: int = 6, devices: int = 4) -> ChainTables:
    """Links cost something, and a third of the stages is illegal."""
    rng = np.random.default_rng(seed)
    stage = rng.uniform(0.1, 1, (devices, blocks + 1, blocks + 1))
    stage[rng.random(stage.shape) < 0.33] = np.inf
    stage[:, np.tri(blocks + 1, dtype=bool)] = np.inf
    return ChainTables(stage, rng.uniform(0, 0.2, (devices + 1, devices + 1, blocks + 1)))


def test_least_by_length_is_the_least_on_each_diagonal():
    stage = tables_of(0).stage
    found = least_by_length(stage)
    for device, length in product(range(4), range(7)):
        values = [stage[device, i, i + length] for i in range(7 - length)]
        assert found[device, length] == min(values)


@pytest.mark.parametrize("count", [1, 2, 3])
def test_bounds_are_the_best_of_all_shares_and_below_every_plan(count):
    for seed in range(30):
        tables = tables_of(seed)
        lengths = least_by_length(tables.stage)
        shares = [
            [lengths[d, n] for d, n in zip(order, blocks, strict=True)]
            for order in permutations(range(4), count)
            for blocks in product(range(1, 7), repeat=count)
            if sum(blocks) == 6
        ]
        assert least_total(lengths, count) == pytest.approx(min(map(sum, shares)))
        for join, bound in ((np.add, least_total(lengths, count)), (np.maximum, least_largest(lengths, count))):
            best = ChainSearch(tables, join, count=count)
            assert bound <= (best.value(count) if best.best() else np.inf) * (1 + 1e-12)


def test_least_largest_is_where_the_longest_stages_just_reach():
    lengths = least_by_length(tables_of(1).stage)
    bound = least_largest(lengths, 2)
    assert sum(sorted(longest(lengths, bound))[-2:]) < 6
    assert sum(sorted(longest(lengths, np.nextafter(bound, 2)))[-2:]) >= 6


def test_room_left_takes_the_longest_that_are_free():
    most = np.array([5, 9, 2])
    used = [[0, 0, 0], [0, 1, 0], [0, 2, 0], [1, 2, 1]]
    assert room_left(most, used, [2, 2, 1], 3).tolist() == [23, 19, 12, 5]
    assert room_left(most, used, [2, 2, 1], 0).tolist() == [0, 0, 0, 0]


def test_fewest_devices_are_the_largest_that_hold_all():
    most = np.array([3, 0, 5, 4])
    assert [fewest_devices(most, blocks) for blocks in (1, 5, 6, 9, 10, 12, 13)] == [1, 1, 2, 2, 3, 3, 5]
