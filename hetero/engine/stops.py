"""Stop strings in a text that comes in pieces. Knows strings only."""

from collections.abc import Sequence


class StopFinder:
    """Lets text pass until a stop string is whole, and holds back what could be the start of one.

    However the text is cut into pieces, it ends where it would end character by character: at the stop string that
    is whole first; where several end together, before the longest.
    """

    def __init__(self, stops: Sequence[str]) -> None:
        self._stops = tuple(stops)
        self._held = ""

    def feed(self, piece: str) -> tuple[str, bool]:
        """(text that may be told, whether a stop string was found); the stop string is not in the text."""
        text = self._held + piece
        found = self._find(text)
        if found is not None:
            self._held = ""
            return text[:found], True
        cut = len(text) - self._start_length(text)
        self._held = text[cut:]
        return text[:cut], False

    def flush(self) -> str:
        """What is held, at the end of the text."""
        held, self._held = self._held, ""
        return held

    def _find(self, text: str) -> int | None:
        """Where the stop string that is whole first begins."""
        starts = ((start, start + len(stop)) for stop in self._stops if (start := text.find(stop)) >= 0)
        first = min(starts, key=lambda span: (span[1], span[0]), default=None)
        return None if first is None else first[0]

    def _start_length(self, text: str) -> int:
        """Length of the longest end of the text that begins a stop string."""
        longest = max((len(stop) for stop in self._stops), default=1) - 1
        lengths = range(min(longest, len(text)), 0, -1)
        return next((n for n in lengths if any(stop.startswith(text[-n:]) for stop in self._stops)), 0)
