"""What Ray's start may not change in a process that starts it. Ray itself is not needed."""

import signal
import sys
from collections.abc import Iterator
from types import FrameType

import pytest

from hetero.cluster_start import _kept_handler


def ended(number: int, frame: FrameType | None) -> None:
    sys.exit(128 + number)


def ended_as_by_ray(number: int, frame: FrameType | None) -> None:
    sys.exit(number)


@pytest.fixture(autouse=True)
def handler() -> Iterator[None]:
    before = signal.signal(signal.SIGTERM, ended)
    yield
    signal.signal(signal.SIGTERM, before)


def test_handler_of_our_own_is_there_again_after_the_start() -> None:
    with _kept_handler(signal.SIGTERM):
        signal.signal(signal.SIGTERM, ended_as_by_ray)
    assert signal.getsignal(signal.SIGTERM) is ended


def test_termination_while_it_starts_has_our_exit_code() -> None:
    with pytest.raises(SystemExit) as told, _kept_handler(signal.SIGTERM):
        signal.signal(signal.SIGTERM, ended_as_by_ray)
        signal.raise_signal(signal.SIGTERM)
    assert told.value.code == 143


def test_handler_of_ray_stays_where_there_was_none() -> None:
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    with _kept_handler(signal.SIGTERM):
        signal.signal(signal.SIGTERM, ended_as_by_ray)
    assert signal.getsignal(signal.SIGTERM) is ended_as_by_ray
