"""The length of drafts follows what steps take and what holds."""

import pytest

from hetero.engine.draft_length import AGAIN_AFTER_STEPS, DraftLength

LENGTHS = (0, 2, 4, 7)


def serve(chooser: DraftLength, steps: int, sequences: int, draft_seconds: float, held_share: float) -> list[int]:
    """Steps that take a second and so much more for each draft; `held_share` of a length's drafts hold in each."""
    chosen = []
    for _ in range(steps):
        length = chooser.choose(sequences)
        held = [round(length * held_share)] * sequences
        chooser.learn(sequences, length, 1 + draft_seconds * length, held)
        chosen.append(length)
    return chosen


def test_every_length_is_tried_and_the_longest_used_where_all_drafts_hold() -> None:
    chosen = serve(DraftLength(LENGTHS), 60, 1, 0.1, 1.0)
    assert set(chosen) == set(LENGTHS)
    assert set(chosen[30:]) == {7}


def test_nothing_is_drafted_where_nothing_holds() -> None:
    assert set(serve(DraftLength(LENGTHS), 200, 1, 0.1, 0.0)[60:]) == {0}


def test_dear_drafts_are_given_up_before_the_longer_ones_are_tried() -> None:
    chosen = serve(DraftLength(LENGTHS), 40, 16, 3.0, 0.5)
    assert not {4, 7} & set(chosen)
    assert set(chosen[10:]) == {0}


def test_few_and_many_sequences_are_judged_apart() -> None:
    chooser = DraftLength(LENGTHS)
    for _ in range(40):
        for sequences, draft_seconds in ((1, 0.1), (16, 3.0)):
            length = chooser.choose(sequences)
            chooser.learn(sequences, length, 1 + draft_seconds * length, [length] * sequences)
    assert chooser.choose(1) == 7
    assert chooser.choose(16) == 0


@pytest.mark.parametrize(("before", "after"), [(0.0, 1.0), (1.0, 0.0)])
def test_another_text_changes_the_choice_within_a_few_trials(before: float, after: float) -> None:
    chooser = DraftLength(LENGTHS)
    serve(chooser, 2 * AGAIN_AFTER_STEPS, 1, 0.1, before)
    last = serve(chooser, 40 * AGAIN_AFTER_STEPS, 1, 0.1, after)[-30:]
    assert (max(last) == 7) is (after == 1.0)


def test_one_length_needs_no_choice() -> None:
    assert set(serve(DraftLength((3,)), 30, 2, 1.0, 0.0)) == {3}
