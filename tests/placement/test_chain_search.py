"""The chain search against every cut and every order of devices, on bare tables; and devices that are alike."""

from itertools import combinations, pairwise, permutations

import numpy as np
import pytest

from placement.chain_search import ChainSearch
from placement.chain_tables import ChainStage, ChainTables, alike_devices


def random_tables(seed: int, blocks: int, devices: int, *, alike: bool) -> ChainTables:
    """Some stages are illegal, links are unlike; with `alike` device 1 is device 0 again."""
    rng = np.random.default_rng(seed)
    stage = rng.uniform(0.1, 1, (devices, blocks + 1, blocks + 1))
    stage[rng.random(stage.shape) < 0.2] = np.inf
    stage[:, np.tri(blocks + 1, dtype=bool)] = np.inf
    link = rng.uniform(0, 0.5, (devices + 1, devices + 1, blocks + 1))
    if alike:
        stage[1] = stage[0]
        link[1], link[:, 1] = link[0], link[:, 0]
        link[0, 1] = link[1, 0]
    return ChainTables(stage, link)


def every_plan(tables: ChainTables) -> list[tuple[ChainStage, ...]]:
    blocks, found = tables.block_count, []
    for count in range(1, min(blocks, tables.device_count) + 1):
        for cut in combinations(range(1, blocks), count - 1):
            for order in permutations(range(tables.device_count), count):
                ranges = pairwise((0, *cut, blocks))
                found.append(tuple(ChainStage(d, a, b) for d, (a, b) in zip(order, ranges, strict=True)))
    return found


def value_of(tables: ChainTables, plan: tuple[ChainStage, ...], join: np.ufunc) -> float:
    return float(join.reduce([part for parts in tables.parts(plan) for part in parts]))


@pytest.mark.parametrize("join", [np.add, np.maximum])
@pytest.mark.parametrize("alike", [False, True])
def test_best_plan_equals_trying_all(join, alike):
    for seed in range(40):
        tables = random_tables(seed, 2 + seed % 5, 2 + seed % 3, alike=alike)
        values = [value_of(tables, plan, join) for plan in every_plan(tables)]
        best = ChainSearch(tables, join).best()
        if best is None:
            assert min(values) == np.inf
        else:
            assert value_of(tables, best, join) == pytest.approx(min(values))


@pytest.mark.parametrize("join", [np.add, np.maximum])
def test_number_of_stages_and_limit_are_kept(join):
    tables = random_tables(5, 6, 4, alike=False)
    for count in (1, 2, 3, 4):
        least = min(value_of(tables, plan, join) for plan in every_plan(tables) if len(plan) == count)
        found = ChainSearch(tables, join, count=count).best()
        assert (found is None) == (least == np.inf)
        if found is not None:
            assert len(found) == count and value_of(tables, found, join) == pytest.approx(least)
            assert ChainSearch(tables, join, count=count, upper=least * 1.001).best() == found


def test_devices_that_are_alike_are_one_type():
    tables = random_tables(3, 6, 4, alike=True)
    assert alike_devices(tables) == [[0, 1], [2], [3]]
    assert alike_devices(random_tables(3, 6, 4, alike=False)) == [[0], [1], [2], [3]]
