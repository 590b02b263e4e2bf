"""Stop strings against the plainest rule: look after every character."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hetero.engine.stops import StopFinder


def by_character(text: str, stops: list[str]) -> tuple[str, bool]:
    for end in range(1, len(text) + 1):
        ending = [stop for stop in stops if text[:end].endswith(stop)]
        if ending:
            return text[: end - max(map(len, ending))], True
    return text, False


def in_pieces(pieces: list[str], stops: list[str]) -> tuple[str, bool]:
    finder, told = StopFinder(stops), ""
    for piece in pieces:
        text, stopped = finder.feed(piece)
        told += text
        if stopped:
            return told, True
    return told + finder.flush(), False


@given(st.lists(st.text("abc", max_size=5), max_size=12), st.lists(st.text("abc", min_size=1, max_size=4), max_size=3))
def test_however_text_is_cut_it_stops_where_character_by_character_would(pieces: list[str], stops: list[str]) -> None:
    assert in_pieces(pieces, stops) == by_character("".join(pieces), stops)


@given(st.text("ab", max_size=12), st.lists(st.text("ab", min_size=1, max_size=4), min_size=1, max_size=3))
def test_only_what_may_begin_a_stop_string_is_held_back(text: str, stops: list[str]) -> None:
    told, stopped = StopFinder(stops).feed(text)
    if not stopped:
        held = text[len(told) :]
        assert text.startswith(told)
        assert held == "" or any(stop.startswith(held) for stop in stops)


@pytest.mark.parametrize(
    ("stops", "pieces", "told"),
    [
        (["\n\n"], ["one\n", "two\n", "\nthree"], "one\ntwo"),
        (["END"], ["the EN", "D of it"], "the "),
        (["END"], ["the EN", "GINE"], "the ENGINE"),
        (["abcd", "bc"], ["ab", "cd"], "a"),
        (["bc", "abc"], ["ab", "c"], ""),
        ([], ["any", "thing"], "anything"),
    ],
)
def test_stop_strings_end_the_text_before_them(stops: list[str], pieces: list[str], told: str) -> None:
    assert in_pieces(pieces, stops)[0] == told
