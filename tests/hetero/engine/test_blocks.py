"""Who holds which numbers."""

import pytest

from hetero.engine.blocks import BlockManager, Numbers


def test_numbers_are_taken_once_and_come_back() -> None:
    numbers = Numbers(4)
    taken = numbers.take(3)
    assert len(set(taken)) == 3 and set(taken) <= set(range(4)) and numbers.free_count == 1
    numbers.give_back(taken)
    assert numbers.free_count == 4 and sorted(numbers.take(4)) == [0, 1, 2, 3]


def test_a_number_given_back_twice_is_an_error() -> None:
    numbers = Numbers(2)
    [number] = numbers.take(1)
    numbers.give_back([number])
    with pytest.raises(ValueError, match="twice"):
        numbers.give_back([number])


def test_more_numbers_than_are_free_is_an_error() -> None:
    with pytest.raises(ValueError, match="3 numbers wanted but 2 are free"):
        Numbers(2).take(3)


@pytest.mark.parametrize(("tokens", "blocks"), [(0, 0), (1, 1), (32, 1), (33, 2), (64, 2), (65, 3)])
def test_blocks_needed_are_those_that_hold_the_tokens(tokens: int, blocks: int) -> None:
    assert BlockManager(8, 32).needed(tokens) == blocks


def test_growing_keeps_the_blocks_and_adds_what_is_missing() -> None:
    manager, held = BlockManager(4, 32), []
    assert manager.grow(held, 40)
    first = list(held)
    assert manager.grow(held, 64) and held == first
    assert manager.grow(held, 65) and held[:2] == first and len(held) == 3 and manager.free == 1
    manager.release(held)
    assert held == [] and manager.free == manager.total == 4


def test_growing_beyond_what_is_free_takes_nothing() -> None:
    manager, held = BlockManager(2, 32), []
    assert not manager.grow(held, 65)
    assert held == [] and manager.free == 2
