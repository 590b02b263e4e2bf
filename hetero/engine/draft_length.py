"""How many tokens to draft: the length that promises the most tokens a second, from what steps took and what held.

Whether drafting pays depends on the model, the text, the devices and how many sequences share a step, so it is measured
while serving, for each length and each number of sequences (by powers of two) apart. How often a draft holds is counted
over all steps too, for it hardly depends on how many share them: so a few steps of a length tell. Makes no drafts.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import median

#: Steps of each length before it is judged, and of the next and the shortest again once so many steps have passed.
TRIAL_STEPS, AGAIN_AFTER_STEPS = 3, 300
#: A drafting length must be better by this much than none: what was measured is noisy, and none is what was promised.
MARGIN = 1.1
#: Longer lengths are not tried where a shorter one comes to less than this share of the best.
HOPELESS = 0.85
_REMEMBERED_STEPS = 16
#: What is taken for granted before anything was seen, in drafts, and how fast what was seen is forgotten.
_PRIOR_HELD, _PRIOR_TRIED, _FORGET = 3.0, 5.0, 0.995
#: So many of a length's own rows weigh as much as what all lengths' drafts say of it.
_OWN_ROWS = 64.0


@dataclass(slots=True)
class _Record:
    """What steps of one length took lately, in seconds, how many drafts held in how many rows, and how many steps of
    its trial are still to come."""

    held: float = 0.0
    rows: float = 0.0
    seconds: deque[float] = field(default_factory=lambda: deque(maxlen=_REMEMBERED_STEPS))
    owed: int = TRIAL_STEPS


class DraftLength:
    """Chooses a length for every step of decoding sequences alone, and learns from what the step came to."""

    def __init__(self, lengths: Sequence[int]) -> None:
        """`lengths` to choose from, rising; one is enough."""
        self._lengths = tuple(lengths)
        self._records: dict[int, dict[int, _Record]] = {}
        self._since_trial: dict[int, int] = {}
        self._held, self._tried = _PRIOR_HELD, _PRIOR_TRIED

    def choose(self, sequences: int) -> int:
        """The length for a step of so many sequences."""
        records = self._records.setdefault(sequences.bit_length(), {length: _Record() for length in self._lengths})
        best = 0.0
        for length, record in records.items():
            if record.owed:
                return length
            rate = self._rate(length, record)
            if rate < HOPELESS * best:
                break
            best = max(best, rate)
        return self._best(records)

    def learn(self, sequences: int, length: int, seconds: float, held: Sequence[int]) -> None:
        """A step of so many sequences took `seconds`; of up to `length` drafts so many `held` in each of them."""
        self._count(length, held)
        size = sequences.bit_length()
        record = self._records.get(size, {}).get(length)
        if record is None:
            return  # the requests' ends left less room than was chosen
        record.seconds.append(seconds)
        record.held = record.held * _FORGET + sum(held)
        record.rows = record.rows * _FORGET + len(held)
        record.owed = max(0, record.owed - 1)
        self._since_trial[size] = self._since_trial.get(size, 0) + 1
        if self._since_trial[size] >= AGAIN_AFTER_STEPS:
            self._since_trial[size] = 0
            self._try_again(self._records[size])

    def _count(self, length: int, held: Sequence[int]) -> None:
        """A draft is tried where all before it held; that the exit was not sure enough of one counts as its failure."""
        if length:
            self._held = self._held * _FORGET + sum(held)
            self._tried = self._tried * _FORGET + sum(min(count + 1, length) for count in held)

    def _rate(self, length: int, record: _Record) -> float:
        """Tokens a second of each sequence: the drafts that will hold and one more, over what such steps took."""
        if not record.seconds:
            return 0.0
        share = self._held / self._tried
        expected = sum(share**place for place in range(1, length + 1))
        held = (expected * _OWN_ROWS + record.held) / (_OWN_ROWS + record.rows)
        return (1 + held) / max(median(record.seconds), 1e-9)

    def _best(self, records: dict[int, _Record]) -> int:
        rates = {length: self._rate(length, record) for length, record in records.items()}
        best = max(rates, key=lambda length: rates[length])
        none = self._lengths[0]
        return best if rates[best] >= MARGIN * rates[none] else none

    def _try_again(self, records: dict[int, _Record]) -> None:
        """A few steps of the shortest length where another is used, else of the next: too few to cost anything."""
        place = 0 if self._best(records) > self._lengths[0] else min(1, len(self._lengths) - 1)
        records[self._lengths[place]].owed = TRIAL_STEPS
