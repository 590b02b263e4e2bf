"""Answers of exits that run again to full depth, when nobody waits: what the watch over the exits lives on.

Knows texts and classes; knows neither batches nor what the watch does.
"""

from collections import deque

from adaptive.measures import answers
from hetero.batch import FloatArray
from hetero.engine.encode_calls import Call, Text, Vectors
from hetero.exits.control import ExitControl

#: So many texts waiting for their audit go ahead even where others wait.
_PATIENCE = 64


class Audits:
    """Texts to compare with full depth. Without `exits` there are never any."""

    def __init__(self, exits: ExitControl | None) -> None:
        self.texts: deque[Text] = deque()
        self._exits = exits

    def __bool__(self) -> bool:
        return bool(self.texts)

    def due(self, waiting: int) -> bool:
        """Whether the next batch is to be one of audits, while so many other texts wait."""
        return bool(self.texts) and (not waiting or len(self.texts) >= _PATIENCE)

    def consider(self, text: Text, vector: FloatArray, exited: bool) -> None:
        """Choose by chance among the answers of texts that might stop; one that did not stop needs no second run."""
        if self._exits is None or text.limits is None or not self._exits.wants_audit():
            return
        if not exited:
            self._exits.audited(differs=False)
            return
        said = int(answers(vector[None])[0])
        self.texts.append(Text(Call(Vectors(), 1, None), 0, text.token_ids, text.token_types, said))

    def compare(self, said: int, vector: FloatArray) -> None:
        """Take full depth's answer to a text for which an exit said `said`."""
        if self._exits is not None:
            self._exits.audited(differs=int(answers(vector[None])[0]) != said)
