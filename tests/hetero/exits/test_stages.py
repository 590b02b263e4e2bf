"""What a stage does with rows that stop: the wire, the buffer before fixed shapes, the way through workers."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from adaptive.measures import Measure
from adaptive.policy import ExitPolicy
from hetero import wire
from hetero.backends.base import ExitSpec, SliceSpec
from hetero.batch import MAX_ROWS, BatchResult, EncodeBatch, ExitAnswers, ExitRows, row_ids
from hetero.devices import local_devices
from hetero.engine.flights import Flights
from hetero.errors import ModelError
from hetero.exits.storage import heads_digest
from hetero.pipeline.base import TRACE, Control, Hidden, Message
from hetero.pipeline.exiting import ExitingWorker
from hetero.pipeline.reforming import Group, ReformBuffer


def exit_batch(number: int, lengths: list[int], limits: list[list[float]], width: int = 4) -> EncodeBatch:
    """A batch whose rows have these lengths and limits."""
    rows, longest = len(lengths), max(lengths)
    mask = (np.arange(longest) < np.array(lengths)[:, None]).astype(np.int64)
    ids = np.arange(rows * longest, dtype=np.int64).reshape(rows, longest) % 200 + 5
    seen = np.full((rows, len(limits[0]), width), np.nan, np.float32)
    exits = ExitRows(row_ids(number, rows), np.array(limits, np.float32), seen)
    return EncodeBatch(number, ids * mask, mask, np.zeros_like(mask), exits)


def group(number: int, rows: int, length: int = 8, seconds: float = 1.0) -> Group:
    batch = exit_batch(number, [length] * rows, [[0.5]] * rows)
    return Group(batch, np.full((rows, length, 2), number, np.float32), TRACE.pack(0.0, 0.0, seconds))


def same(first: object, second: object) -> bool:
    """Equality of batches and results with NaN equal to itself."""
    if isinstance(first, np.ndarray):
        return bool(np.array_equal(first, second, equal_nan=first.dtype.kind == "f"))
    names = getattr(type(first), "__slots__", None)
    if isinstance(first, EncodeBatch | ExitRows | ExitAnswers | BatchResult) and names:
        return type(first) is type(second) and all(same(getattr(first, n), getattr(second, n)) for n in names)
    return first == second


def test_batches_and_answers_with_exits_cross_the_wire() -> None:
    batch = exit_batch(7, [3, 5], [[np.nan, 0.5], [np.inf, -1.0]])
    answers = ExitAnswers(row_ids(7, 2), 3, np.ones((2, 2, 4), np.float32))
    result = BatchResult(7, "encode", vectors=np.ones((2, 3), np.float32), exits=answers)
    for message in (batch, result):
        assert same(wire.decode(*wire.encode(message)), message)


def test_a_payload_that_is_too_short_or_too_long_is_refused() -> None:
    head, payload = wire.encode(exit_batch(7, [3, 5], [[0.5], [0.5]]))
    for wrong in (bytes(payload)[:-4], bytes(payload) + bytes(4)):
        with pytest.raises(wire.WireError):
            wire.decode(head, wrong)


def test_buffer_fills_groups_of_one_length_and_keeps_times() -> None:
    buffer = ReformBuffer(4, 1.0, True, clock=lambda: 0.0)
    assert not list(buffer.add(group(1, 3))) and not list(buffer.add(group(2, 3, length=16)))
    (full,) = buffer.add(group(3, 2, seconds=2.0))
    assert full.hidden[:, 0, 0].tolist() == [1, 1, 1, 3]
    assert full.batch.batch_id < 0 and full.batch.exits is not None
    assert (full.batch.exits.ids // MAX_ROWS).tolist() == [1, 1, 1, 3]
    assert TRACE.unpack(full.traces)[2] == 3.0
    left = {len(each.hidden): each for each in buffer.all()}
    assert sorted(left) == [1, 3] and TRACE.unpack(left[1].traces)[2] == 0.0


def test_buffer_of_any_shape_joins_lengths_only_where_a_group_leaves_early() -> None:
    buffer = ReformBuffer(4, 1.0, False, clock=lambda: 0.0)
    assert not list(buffer.add(group(1, 2, length=24))) and not list(buffer.add(group(2, 3, length=48)))
    assert not list(buffer.add(group(3, 3, length=32)))
    (full,) = buffer.add(group(4, 2, length=32))
    assert full.hidden.shape == (5, 32, 2)
    assert not list(buffer.add(group(5, 3, length=32)))
    early = buffer.one()
    assert early is not None and early.hidden.shape == (5, 32, 2) and (early.hidden[:2, 24:] == 0).all()
    assert early.batch.attention_mask.sum(axis=1).tolist() == [24, 24, 32, 32, 32]
    left = buffer.one()
    assert left is not None and len(left.hidden) == 3 and buffer.one() is None


def test_buffer_lets_rows_go_at_their_deadline() -> None:
    now = [0.0]
    buffer = ReformBuffer(4, 0.005, True, clock=lambda: now[0])
    assert buffer.patience_seconds is None
    assert not list(buffer.add(group(1, 1)))
    assert buffer.patience_seconds == pytest.approx(0.005)
    assert not list(buffer.overdue())
    now[0] = 0.0051
    assert [len(each.hidden) for each in buffer.overdue()] == [1]
    assert buffer.patience_seconds is None


def test_flights_answer_rows_in_any_order_and_forget_given_up_batches() -> None:
    flights: Flights[str] = Flights()
    flights.begin(1, ["a", "b"])
    flights.begin(2, ["c"])
    seen = np.zeros((2, 1, 4), np.float32)
    ids = np.array([row_ids(2, 1)[0], row_ids(1, 2)[1]])
    mixed = BatchResult(-5, "encode", vectors=np.ones((2, 3), np.float32), exits=ExitAnswers(ids, 2, seen))
    assert flights.fits(mixed)
    assert [(answer.text, answer.depth) for answer in flights.answered(mixed)] == [("c", 2), ("b", 2)]
    assert len(flights) == 1
    assert flights.end(1) == ["a"] and flights.end(1) == []
    assert not list(flights.answered(mixed))


def worker_of(model: Path, first: int, last: int, exits: ExitSpec, **changes: object) -> ExitingWorker:
    device = next(device for device in local_devices() if device.name == "cpu")
    spec = SliceSpec(model, first, last, device, "fp32", 1, exits=exits)
    return ExitingWorker(spec, "torch", first == 0, last == 4)


@pytest.fixture(scope="module")
def plain_exits(exiting_model: Path) -> ExitSpec:
    return ExitSpec(ExitPolicy(Measure.MAXIMUM, (1, 2, 3), (1.0, 1.0, 1.0)), heads_digest(exiting_model), (1, 2, 3))


def through(workers: list[ExitingWorker], message: Message) -> Iterator[Message]:
    """Everything that comes out behind the last worker; one that would be idle says in time what it has to say."""
    if not workers:
        yield message
        return
    first, rest = workers[0], workers[1:]
    if first.forwards(message):
        yield from through(rest, message)
    for answer in first.answers(message, 0.0):
        yield from through(rest, answer)
    while (patience := first.patience_seconds) is not None and patience < 1.0:
        time.sleep(patience)
        for answer in first.overdue():
            yield from through(rest, answer)


def test_rows_leave_two_stages_where_their_limits_say(exiting_model: Path, plain_exits: ExitSpec) -> None:
    never, asked = np.nan, np.inf
    limits = [[never] * 3, [0.0, never, never], [never, 0.0, never], [never, never, 0.0], [asked] * 3]
    batch = exit_batch(3, [4, 6, 9, 2, 5], limits)
    workers = [worker_of(exiting_model, 0, 2, plain_exits), worker_of(exiting_model, 2, 4, plain_exits)]
    results = [each for each in through(workers, batch) if isinstance(each, BatchResult)]
    found = {int(number) % MAX_ROWS: each.exits.depth for each in results for number in each.exits.ids}
    assert found == {0: 4, 1: 1, 2: 2, 3: 3, 4: 4}
    watched = next(each for each in results if each.exits.depth == 4).exits
    row = watched.seen[(watched.ids % MAX_ROWS).tolist().index(4)]
    assert np.isfinite(row).all()
    # Each burst's time is counted once: the first stage's trace is empty wherever an earlier message carried it.
    seconds = [sum(trace.ended_at_seconds - trace.started_at_seconds for trace in each.traces) for each in results]
    assert all(each >= 0 for each in seconds)


def test_rows_that_wait_in_a_buffer_are_answered_by_the_end(exiting_model: Path, plain_exits: ExitSpec) -> None:
    first, second = worker_of(exiting_model, 0, 2, plain_exits), worker_of(exiting_model, 2, 4, plain_exits)
    second._static, second._waiting = True, [ReformBuffer(4, 60.0, True) for _ in range(2)]
    observed = [[np.inf] * 3]
    out = [m for number in (1, 2, 3) for m in through([first, second], exit_batch(number, [6], observed))]
    assert out == []
    plain = EncodeBatch(9, *(np.ones((2, 6), np.int64) for _ in range(3)))
    (passed,) = through([first, second], plain)
    assert isinstance(passed, BatchResult) and passed.exits is None and passed.batch_id == 9
    (full,) = through([first, second], exit_batch(4, [6], observed))
    assert isinstance(full, BatchResult) and (full.exits.ids // MAX_ROWS).tolist() == [1, 2, 3, 4]
    assert not list(through([first, second], exit_batch(5, [6], observed)))
    last, stop = through([first, second], Control("stop"))
    assert isinstance(last, BatchResult) and isinstance(stop, Control)


def test_a_failing_engine_fails_every_batch_that_had_a_row(exiting_model: Path, plain_exits: ExitSpec) -> None:
    worker = worker_of(exiting_model, 2, 4, plain_exits)
    worker._static, worker._waiting[0] = True, ReformBuffer(2, 60.0, True)
    for number in (1, 2):
        list(worker.answers(exit_batch(number, [6], [[np.inf] * 3]), 0.0))
    wrong = np.zeros((1, 6, 3), np.float32)
    assert not list(worker.answers(Hidden(1, wrong, TRACE.pack(0, 0, 0)), 0.0))
    failed = list(worker.answers(Hidden(2, wrong, TRACE.pack(0, 0, 0)), 0.0))
    assert [each.batch_id for each in failed] == [1, 2] and all(each.error for each in failed)


def test_heads_that_differ_from_the_engines_are_refused(exiting_model: Path, plain_exits: ExitSpec) -> None:
    with pytest.raises(ModelError, match="every node"):
        worker_of(exiting_model, 0, 4, ExitSpec(plain_exits.policy, "another", (1, 2, 3)))


@pytest.mark.npu
def test_fixed_shapes_get_groups_and_answer_as_any_shape_does(
    exiting_model: Path, make_texts: Callable[..., tuple[str, ...]]
) -> None:
    from hetero import Runtime

    assert any(device.static_shapes for device in local_devices()), "the emulator is part of the tests' set-up"
    texts = make_texts(11, 8)
    plan = "cpu/torch@fp32:0-2,npu:2-4"
    with Runtime(str(exiting_model), plan, in_process=True, exits="observe") as runtime:
        found = runtime.submit_observation(texts)
        logits = found.result()
    with Runtime(str(exiting_model), "cpu/torch@fp32:0-4", in_process=True, exits="off") as runtime:
        wanted = runtime.submit_classification(texts).result()
    assert np.allclose(logits, wanted, atol=0.1)
    assert (found.depths == 4).all() and np.isfinite(found.seen).all()
