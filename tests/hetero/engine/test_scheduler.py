"""The scheduler's rules one by one, and its invariants under random arrivals, lengths and cancellations.

The pipeline is played here by a table of cache cells: a step may only read cells that hold its own tokens.
"""

from collections import deque

import numpy as np
import pytest
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from hetero.batch import DecodeBatch
from hetero.engine.assembly import assemble
from hetero.engine.scheduler import Scheduler, Turn
from hetero.engine.sequence import Sequence
from hetero.engine.settings import EngineSettings
from hetero.errors import ConfigurationError
from hetero.types import SamplingParams


def make_scheduler(micro_batches: int = 1, **limits: int) -> Scheduler:
    defaults = {"block_count": 64, "max_context": 10_000}
    return Scheduler(EngineSettings(**{**defaults, **limits}), micro_batches)


def add(scheduler: Scheduler, arrival: int, prompt_tokens: int) -> Sequence:
    prompt = list(range(prompt_tokens))
    sequence = Sequence(f"r{arrival}", arrival, prompt_tokens, prompt, SamplingParams(), seed=0)
    scheduler.add(sequence)
    return sequence


def finish_step(scheduler: Scheduler, turns: tuple[Turn, ...], token_id: int = 7) -> None:
    for turn in turns:
        scheduler.complete(turn)
        if turn.samples and not turn.sequence.doomed:
            turn.sequence.append(token_id)


def run_step(scheduler: Scheduler) -> dict[str, int]:
    """One step of a pipeline of one stage: tokens by request."""
    turns = scheduler.schedule()
    finish_step(scheduler, turns)
    return {turn.sequence.request_id: turn.last - turn.first for turn in turns}


def test_prompts_are_cut_into_chunks_that_fit_beside_the_decoding_ones() -> None:
    scheduler = make_scheduler(max_batch_tokens=16)
    add(scheduler, 0, 5)
    assert run_step(scheduler) == {"r0": 5}
    add(scheduler, 1, 40)
    add(scheduler, 2, 3)
    assert run_step(scheduler) == {"r0": 1, "r1": 15}
    assert run_step(scheduler) == {"r0": 1, "r1": 15}
    assert run_step(scheduler) == {"r0": 1, "r1": 10, "r2": 3}
    assert run_step(scheduler) == {"r0": 1, "r1": 1, "r2": 1}


def test_only_the_last_chunk_of_a_prompt_is_sampled() -> None:
    scheduler = make_scheduler(max_batch_tokens=16)
    add(scheduler, 0, 20)
    first = scheduler.schedule()
    finish_step(scheduler, first)
    assert [turn.samples for turn in (*first, *scheduler.schedule())] == [False, True]


def test_requests_are_admitted_as_they_arrived_and_nobody_overtakes() -> None:
    scheduler = make_scheduler(block_count=4, max_sequences=4)
    add(scheduler, 0, 60)
    assert run_step(scheduler) == {"r0": 60}
    add(scheduler, 1, 90)
    add(scheduler, 2, 1)
    assert run_step(scheduler) == {"r0": 1}
    assert [sequence.request_id for sequence in scheduler.waiting] == ["r1", "r2"]


def test_no_more_run_than_there_are_slots() -> None:
    scheduler = make_scheduler(max_sequences=2)
    sequences = [add(scheduler, arrival, 4) for arrival in range(3)]
    run_step(scheduler)
    assert sorted(sequence.slot for sequence in sequences) == [-1, 0, 1]
    freed = sequences[0].slot
    scheduler.remove(sequences[0])
    run_step(scheduler)
    assert sequences[2].slot == freed


def test_running_sequences_are_spread_over_the_micro_batches() -> None:
    scheduler = make_scheduler(micro_batches=3, max_sequences=8)
    for arrival in range(8):
        add(scheduler, arrival, 2)
    batches = [scheduler.schedule() for _ in range(3)]
    assert [len(batch) for batch in batches] == [3, 3, 2]
    assert scheduler.schedule() == ()
    names = [turn.sequence.request_id for batch in batches for turn in batch]
    assert len(set(names)) == 8


def full_scheduler(micro_batches: int = 1) -> tuple[Scheduler, list[Sequence]]:
    """Three sequences that hold all six blocks and have filled them to the last token."""
    scheduler = make_scheduler(micro_batches, block_count=6, max_sequences=3)
    sequences = [add(scheduler, arrival, 64 - 2 * (arrival != 0)) for arrival in range(3)]
    # The head start that admission leaves for growth does not fit here: let them in one by one.
    for sequence in sequences:
        scheduler.waiting.remove(sequence)
        scheduler.blocks.grow(sequence.blocks, 64)
        [sequence.slot] = scheduler._slots.take(1)
        scheduler.running.append(sequence)
    return scheduler, sequences


def test_the_latest_arrived_is_preempted_first_and_waits_in_its_place() -> None:
    scheduler, (first, second, third) = full_scheduler()
    run_step(scheduler)
    add(scheduler, 9, 1)
    assert run_step(scheduler) == {"r0": 1, "r1": 1}
    assert scheduler.preemptions == 1
    assert (third.slot, third.blocks, third.cached) == (-1, [], 0)
    assert [sequence.request_id for sequence in scheduler.waiting] == ["r2", "r9"]
    assert len(first.blocks) == 3 and len(second.blocks) == 2


def test_a_preempted_sequence_computes_all_its_tokens_again() -> None:
    scheduler, (first, second, third) = full_scheduler()
    run_step(scheduler)
    run_step(scheduler)
    known = len(third.token_ids)
    scheduler.remove(first)
    scheduler.remove(second)
    assert run_step(scheduler) == {"r2": known}


def test_a_sequence_in_flight_is_not_preempted() -> None:
    scheduler, (first, _, third) = full_scheduler(micro_batches=3)
    batches = [scheduler.schedule() for _ in range(3)]
    finish_step(scheduler, batches[0])
    finish_step(scheduler, batches[1])
    turns = scheduler.schedule()
    assert [turn.sequence for turn in turns] == [first]
    assert third.in_flight and third.slot >= 0 and scheduler.preemptions == 1


def test_the_latest_pauses_where_only_older_ones_hold_blocks() -> None:
    scheduler = make_scheduler(block_count=3, max_sequences=2)
    older = add(scheduler, 0, 10)
    run_step(scheduler)
    later = add(scheduler, 1, 32)
    scheduler.blocks.grow(older.blocks, 60)
    scheduler.waiting.clear()
    scheduler.blocks.grow(later.blocks, 32)
    [later.slot] = scheduler._slots.take(1)
    scheduler.running.append(later)
    run_step(scheduler)
    assert run_step(scheduler) == {"r0": 1}
    assert later.slot >= 0 and scheduler.preemptions == 0
    scheduler.remove(older)
    assert run_step(scheduler) == {"r1": 1}


def test_a_sequence_removed_in_flight_keeps_its_blocks_until_its_batch_returns() -> None:
    scheduler = make_scheduler()
    sequence = add(scheduler, 0, 40)
    turns = scheduler.schedule()
    scheduler.remove(sequence)
    assert scheduler.blocks.free == scheduler.blocks.total - 2 and scheduler.busy
    finish_step(scheduler, turns)
    assert scheduler.blocks.free == scheduler.blocks.total and not scheduler.busy


def test_a_batch_lists_its_tokens_one_sequence_after_another() -> None:
    scheduler = make_scheduler(max_batch_tokens=48)
    first = add(scheduler, 0, 33)
    run_step(scheduler)
    second = add(scheduler, 1, 70)
    batch = assemble(5, scheduler.schedule(), 32)
    assert batch.token_ids.tolist() == [7, *range(47)] and batch.token_ids.dtype == np.int64
    assert batch.positions.tolist() == [33, *range(47)] and batch.positions.dtype == np.int64
    assert batch.past_lens.tolist() == [33, 0] and batch.begins.tolist() == [0, 1, 48]
    assert batch.block_indices.tolist() == [*first.blocks, *second.blocks[:2]]
    assert batch.block_begins.tolist() == [0, 2, 4]
    assert batch.slots.tolist() == [first.slot, second.slot]
    assert batch.sample_rows.tolist() == [0] and [row.position for row in batch.sampling] == [34]
    narrow = (batch.past_lens, batch.begins, batch.block_indices, batch.block_begins, batch.slots)
    assert {array.dtype for array in narrow} == {np.dtype(np.int32)}


@pytest.mark.parametrize(
    "limits",
    [
        {"max_sequences": 0},
        {"max_context": 0},
        {"block_tokens": 0},
        {"max_batch_tokens": 8, "max_sequences": 9},
        {"max_waiting": 0},
        {"micro_batches": -1},
        {"block_count": -1},
    ],
    ids=str,
)
def test_settings_out_of_range_are_refused(limits: dict[str, int]) -> None:
    with pytest.raises(ConfigurationError, match=next(iter(limits))):
        EngineSettings(**{"max_context": 100, **limits})


def token_at(arrival: int, position: int) -> int:
    return arrival * 1000 + position


class Site(RuleBasedStateMachine):
    """Requests come, steps go and return in order, requests are cancelled; the cache is a table of cells."""

    @initialize(
        blocks=st.integers(4, 12),
        slots=st.integers(1, 5),
        budget=st.integers(5, 24),
        micro_batches=st.integers(1, 3),
    )
    def open(self, blocks: int, slots: int, budget: int, micro_batches: int) -> None:
        self.micro_batches = micro_batches
        self.budget = budget
        self.scheduler = make_scheduler(
            micro_batches, block_count=blocks, block_tokens=4, max_sequences=slots, max_batch_tokens=budget
        )
        self.cells: dict[tuple[int, int], int] = {}
        self.in_flight: deque[tuple[Turn, ...]] = deque()
        self.wanted: dict[Sequence, int] = {}
        self.finished: set[Sequence] = set()
        self.arrivals = 0

    @rule(prompt_tokens=st.integers(1, 16), max_tokens=st.integers(1, 20))
    def arrive(self, prompt_tokens: int, max_tokens: int) -> None:
        room = self.scheduler.blocks.total * 4
        prompt = [token_at(self.arrivals, position) for position in range(min(prompt_tokens, room))]
        sequence = Sequence(f"r{self.arrivals}", self.arrivals, len(prompt), prompt, SamplingParams(), seed=0)
        self.wanted[sequence] = min(max_tokens, room - len(prompt) + 1)
        self.scheduler.add(sequence)
        self.arrivals += 1

    @precondition(lambda self: len(self.in_flight) < self.micro_batches)
    @rule()
    def submit(self) -> None:
        turns = self.scheduler.schedule()
        if turns:
            assert sum(turn.last - turn.first for turn in turns) <= self.budget
            self.compute(assemble(1, turns, 4))
            self.in_flight.append(turns)

    @precondition(lambda self: self.in_flight)
    @rule()
    def collect(self) -> None:
        turns = self.in_flight.popleft()
        for turn in turns:
            self.scheduler.complete(turn)
        for turn in turns:
            if turn.samples and not turn.sequence.doomed:
                self.take_token(turn.sequence)

    @precondition(lambda self: self.wanted)
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        sequence = data.draw(st.sampled_from(list(self.wanted)))
        del self.wanted[sequence]
        self.scheduler.remove(sequence)

    def take_token(self, sequence: Sequence) -> None:
        sequence.append(token_at(sequence.arrival, len(sequence.token_ids)))
        if sequence.completion_tokens == self.wanted[sequence]:
            del self.wanted[sequence]
            self.finished.add(sequence)
            self.scheduler.remove(sequence)

    def compute(self, batch: DecodeBatch) -> None:
        """Write the batch's tokens to their cells, then read each sequence's whole past, as attention would."""
        for index in range(batch.sequence_count):
            blocks = batch.block_indices[batch.block_begins[index] : batch.block_begins[index + 1]].tolist()
            begin, end = batch.begins[index], batch.begins[index + 1]
            past, length = int(batch.past_lens[index]), int(batch.past_lens[index] + end - begin)
            assert len(blocks) == -(-length // 4)
            assert batch.positions[begin:end].tolist() == list(range(past, length))
            for position, token_id in zip(range(past, length), batch.token_ids[begin:end].tolist(), strict=True):
                self.cells[blocks[position // 4], position % 4] = token_id
            arrival = self.cells[blocks[0], 0] // 1000
            read = [self.cells[blocks[position // 4], position % 4] for position in range(length)]
            assert read == [token_at(arrival, position) for position in range(length)]

    @invariant()
    def nothing_is_leaked_or_owned_twice(self) -> None:
        if not hasattr(self, "scheduler"):
            return
        running, waiting, blocks = self.scheduler.running, self.scheduler.waiting, self.scheduler.blocks
        held = [block for sequence in running for block in sequence.blocks]
        assert len(held) == len(set(held)) == blocks.total - blocks.free
        slots = [sequence.slot for sequence in running]
        assert len(set(slots)) == len(slots) and -1 not in slots
        assert all(not sequence.blocks and sequence.slot == -1 and not sequence.in_flight for sequence in waiting)
        flying = [turn.sequence for turns in self.in_flight for turn in turns]
        assert len(flying) == len(set(flying)) and {each for each in running if each.in_flight} == set(flying)
        assert set(self.wanted) == {each for each in (*running, *waiting) if not each.doomed}
        assert [each.arrival for each in waiting] == sorted(each.arrival for each in waiting)

    def teardown(self) -> None:
        """Every request that was not cancelled ends with its tokens, in a bounded number of steps."""
        if not hasattr(self, "scheduler"):
            return
        for _ in range(4000):
            if not self.scheduler.busy:
                break
            while len(self.in_flight) < self.micro_batches:
                before = len(self.in_flight)
                self.submit()
                if len(self.in_flight) == before:
                    break
            assert self.in_flight, "work is left but nothing can run"
            self.collect()
        assert not self.wanted and not self.scheduler.busy
        assert self.scheduler.blocks.free == self.scheduler.blocks.total
        for sequence in self.finished:
            assert sequence.token_ids == [token_at(sequence.arrival, i) for i in range(len(sequence.token_ids))]


Site.TestCase.settings = hypothesis_settings(max_examples=80, stateful_step_count=50, deadline=None)
TestSite = Site.TestCase
