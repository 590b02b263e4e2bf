"""How many tokens to draft: the length that has given the most tokens a second, tried anew now and then.

Whether drafting pays depends on the model, the text, the devices and how many sequences share a step, so it is measured
while serving, for each number of sequences (by powers of two) apart. Knows steps' times; does not make drafts.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

#: Steps of each length before it is judged, and again once so many steps have passed.
TRIAL_STEPS, AGAIN_AFTER_STEPS = 4, 400
#: A drafting length must be better by this much than none.
MARGIN = 1.02
_REMEMBERED_STEPS = 24


@dataclass(slots=True)
class _Record:
    """What one length came to lately: (seconds, tokens) of each step, and how many steps are left of its trial."""

    steps: deque[tuple[float, int]] = field(default_factory=lambda: deque(maxlen=_REMEMBERED_STEPS))
    owed: int = TRIAL_STEPS

    @property
    def tokens_per_second(self) -> float:
        """Of the faster half of the steps: a step that something else held up says nothing about its length."""
        fastest = sorted(self.steps, key=lambda step: step[0])[: max(1, len(self.steps) // 2)]
        tokens = sum(count for _, count in self.steps) / len(self.steps)
        return tokens / max(sum(seconds for seconds, _ in fastest) / len(fastest), 1e-9)


class DraftLength:
    """Chooses a length for every step of decoding sequences alone, and learns from what the step came to."""

    def __init__(self, lengths: Sequence[int]) -> None:
        """`lengths` to choose from, rising; one is enough."""
        self._lengths = tuple(lengths)
        self._records: dict[int, dict[int, _Record]] = {}
        self._since_trial: dict[int, int] = {}

    def choose(self, sequences: int) -> int:
        """The length for a step of so many sequences."""
        size = sequences.bit_length()
        records = self._records.setdefault(size, {length: _Record() for length in self._lengths})
        owing = next((length for length in self._lengths if records[length].owed), None)
        return self._best(records) if owing is None else owing

    def learn(self, sequences: int, length: int, seconds: float, tokens: int) -> None:
        """A step of so many sequences that drafted up to `length` took `seconds` and gave `tokens`."""
        size = sequences.bit_length()
        records = self._records.get(size)
        if records is None or length not in records:
            return  # the requests' ends left less room than was chosen
        record = records[length]
        record.steps.append((seconds, tokens))
        record.owed = max(0, record.owed - 1)
        self._since_trial[size] = self._since_trial.get(size, 0) + 1
        if self._since_trial[size] >= AGAIN_AFTER_STEPS:
            self._since_trial[size] = 0
            self._try_again(records)

    def _best(self, records: dict[int, _Record]) -> int:
        rates = {length: record.tokens_per_second for length, record in records.items()}
        best = max(rates, key=lambda length: rates[length])
        none = self._lengths[0]
        return best if rates[best] >= MARGIN * rates[none] else none

    def _try_again(self, records: dict[int, _Record]) -> None:
        """Try the shortest length, and that which is best or else the next: seldom enough to cost nothing."""
        best = self._best(records)
        for length in {*self._lengths[: 1 if best > self._lengths[0] else 2], best}:
            records[length].steps.clear()
            records[length].owed = TRIAL_STEPS
