"""Who runs in the next step: admission, chunks, growth, preemption. Pure: no clock, no thread, no model, no text.

The rules, in the order of arrival of the requests (first come, first served):

* A waiting request is admitted when a slot is free and there are blocks for all its known tokens, with one to spare
  for each running sequence, which may soon grow. Nobody overtakes the head of the queue.
* A running sequence that grows out of its blocks takes a free one. Where none is free, the latest-arrived running
  sequence after it, and not in flight, is preempted: it gives back its blocks and waits in its place to be computed
  again. Where there is none, it pauses and keeps what it holds until a batch returns or an older one needs it.
* The oldest sequence can take from all others, and a request that exceeds all blocks together is never let in, so
  the oldest always advances: every request ends.
"""

from bisect import insort
from collections.abc import Callable
from dataclasses import dataclass, replace

from hetero.engine.blocks import BlockManager, Numbers
from hetero.engine.sequence import Sequence
from hetero.engine.settings import EngineSettings


@dataclass(frozen=True, slots=True)
class Turn:
    """What a sequence computes in one step: its tokens [first, last). `samples`: the next token is drawn after them.

    Up to `drafts` tokens may be drafted after that.
    """

    sequence: Sequence
    first: int
    last: int
    samples: bool
    drafts: int = 0


DraftLengthOf = Callable[[int], int]


def no_drafts(sequences: int) -> int:
    return 0


def _arrival(sequence: Sequence) -> int:
    return sequence.arrival


class Scheduler:
    """The queue, the running sequences and their blocks and slots, for up to `micro_batches` batches in flight."""

    def __init__(self, settings: EngineSettings, micro_batches: int) -> None:
        self.blocks = BlockManager(settings.block_count, settings.block_tokens)
        self.waiting: list[Sequence] = []
        self.running: list[Sequence] = []
        self.preemptions = 0
        self._slots = Numbers(settings.max_sequences)
        self._max_batch_tokens = settings.max_batch_tokens
        self._micro_batches = micro_batches

    @property
    def busy(self) -> bool:
        return bool(self.waiting or self.running)

    def add(self, sequence: Sequence) -> None:
        """Queue a sequence; the caller has made sure that it can ever fit."""
        insort(self.waiting, sequence, key=_arrival)

    def schedule(self, draft_length: DraftLengthOf = no_drafts) -> tuple[Turn, ...]:
        """The next batch, now in flight; empty where nobody can run.

        `draft_length` is asked for the drafts of a batch of so many sequences that all decode; others have none, nor
        does one with a private sequence, whose pace would tell of the others.
        """
        self._admit()
        turns = self._with_drafts(self._share_tokens(self._members()), draft_length)
        for turn in turns:
            turn.sequence.in_flight = True
        return turns

    def complete(self, turn: Turn) -> None:
        """A batch with this turn has returned: its tokens are in the cache."""
        sequence = turn.sequence
        sequence.in_flight = False
        sequence.cached = turn.last
        if sequence.doomed:
            self._release(sequence)

    def remove(self, sequence: Sequence) -> None:
        """The sequence has ended: free what it holds, now or, if it is in flight, when its batch returns."""
        if sequence.in_flight:
            sequence.doomed = True
        elif sequence.slot >= 0:
            self._release(sequence)
        else:
            self.waiting.remove(sequence)

    def _admit(self) -> None:
        while self.waiting and self._slots.free_count and self._has_room(self.waiting[0]):
            sequence = self.waiting.pop(0)
            self.blocks.grow(sequence.blocks, len(sequence.token_ids))
            [sequence.slot] = self._slots.take(1)
            insort(self.running, sequence, key=_arrival)

    def _has_room(self, sequence: Sequence) -> bool:
        return self.blocks.needed(len(sequence.token_ids)) + len(self.running) <= self.blocks.free

    def _members(self) -> list[Sequence]:
        """Sequences of the next batch: an even share of all running ones, so that every stage has work."""
        share = -(-len(self.running) // self._micro_batches)
        members: list[Sequence] = []
        for sequence in [each for each in self.running if not each.in_flight]:
            # An earlier member's growth may have preempted it meanwhile.
            if len(members) < share and sequence.slot >= 0 and self._grow(sequence):
                members.append(sequence)
        return members

    def _grow(self, sequence: Sequence) -> bool:
        """Give the sequence blocks for all its known tokens, at the cost of later ones; False where it must pause."""
        while not self.blocks.grow(sequence.blocks, len(sequence.token_ids)):
            victim = self._latest_after(sequence)
            if victim is None:
                return False
            self._preempt(victim)
        return True

    def _latest_after(self, sequence: Sequence) -> Sequence | None:
        later = (each for each in reversed(self.running) if each.arrival > sequence.arrival and not each.in_flight)
        return next(later, None)

    def _preempt(self, sequence: Sequence) -> None:
        self._release(sequence)
        sequence.cached = 0
        self.preemptions += 1
        self.add(sequence)

    def _release(self, sequence: Sequence) -> None:
        self.running.remove(sequence)
        self.blocks.release(sequence.blocks)
        self._slots.give_back([sequence.slot])
        sequence.slot = -1

    def _with_drafts(self, turns: tuple[Turn, ...], draft_length: DraftLengthOf) -> tuple[Turn, ...]:
        if not turns or any(turn.last - turn.first > 1 or turn.sequence.sampling.private_clip for turn in turns):
            return turns
        length = min(draft_length(len(turns)), self._max_batch_tokens // len(turns) - 1)
        return tuple(replace(turn, drafts=self._drafts_of(turn.sequence, length)) for turn in turns)

    def _drafts_of(self, sequence: Sequence, length: int) -> int:
        """Up to `length` drafts if free blocks have room for them: nobody is preempted for drafts."""
        wanted = min(length, sequence.room_for_drafts)
        return wanted if wanted > 0 and self.blocks.grow(sequence.blocks, len(sequence.token_ids) + wanted) else 0

    def _share_tokens(self, members: list[Sequence]) -> tuple[Turn, ...]:
        """One token for each member that decodes; what is left of the step goes to prompts, the oldest first."""
        budget = self._max_batch_tokens - sum(member.pending == 1 for member in members)
        turns: list[Turn] = []
        for member in members:
            count = 1 if member.pending == 1 else min(member.pending, budget)
            if count == 0:
                continue
            if member.pending > 1:
                budget -= count
            last = member.cached + count
            turns.append(Turn(member, member.cached, last, last == len(member.token_ids)))
        return tuple(turns)
