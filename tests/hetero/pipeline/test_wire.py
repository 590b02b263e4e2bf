"""Messages come back from their bytes as they were, and bytes that are no message are refused."""

import struct
from dataclasses import fields
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from hetero import wire
from hetero.batch import BatchResult, DecodeBatch, EncodeBatch, RowSampling, SampledToken, StageTrace
from hetero.pipeline.base import TRACE, WORDS, Control, Hidden, Message

INT32, INT64 = st.integers(-(2**31), 2**31 - 1), st.integers(-(2**63), 2**63 - 1)
REALS = st.floats(allow_nan=False)
TIMES = st.floats(0, 1e9)
TRACES = st.lists(st.builds(StageTrace, TIMES, TIMES, TIMES), max_size=4).map(tuple)


def ints(dtype: type, size: int | tuple[int, ...]) -> st.SearchStrategy[Any]:
    return hnp.arrays(dtype, size)


def floats(*size: int) -> st.SearchStrategy[Any]:
    return hnp.arrays(np.float32, size, elements=st.floats(width=32, allow_nan=False))


rows = st.builds(
    RowSampling,
    temperature=REALS,
    top_k=INT32,
    top_p=REALS,
    min_p=REALS,
    repetition_penalty=REALS,
    seed=INT64,
    position=INT64,
    logprobs=INT32,
    seen=st.none() | st.integers(0, 5).flatmap(lambda size: ints(np.int64, size)),
    private_clip=REALS,
    draft_limit=INT32,
    draft_confidence=REALS,
    exit_threshold=REALS,
    audited=st.booleans(),
)


@st.composite
def decode_batches(draw: st.DrawFn) -> DecodeBatch:
    tokens, sequences, blocks, count = (draw(st.integers(0, 6)) for _ in range(4))
    return DecodeBatch(
        draw(INT64),
        token_ids=draw(ints(np.int64, tokens)),
        positions=draw(ints(np.int64, tokens)),
        past_lens=draw(ints(np.int32, sequences)),
        begins=draw(ints(np.int32, sequences + 1)),
        block_indices=draw(ints(np.int32, blocks)),
        block_begins=draw(ints(np.int32, sequences + 1)),
        slots=draw(ints(np.int32, sequences)),
        sample_rows=draw(ints(np.int64, count)),
        sampling=tuple(draw(st.lists(rows, min_size=count, max_size=count))),
    )


@st.composite
def encode_batches(draw: st.DrawFn) -> EncodeBatch:
    shape = (draw(st.integers(0, 4)), draw(st.integers(0, 4)))
    return EncodeBatch(draw(INT64), *(draw(ints(np.int64, shape)) for _ in range(3)))


sizes = st.integers(0, 5)
PACKED_TRACES = st.lists(st.tuples(TIMES, TIMES, TIMES), max_size=4).map(
    lambda traces: b"".join(TRACE.pack(*t) for t in traces)
)
hidden = st.builds(
    Hidden,
    INT64,
    st.tuples(sizes, sizes).flatmap(lambda shape: floats(*shape))
    | st.tuples(sizes, sizes, sizes).flatmap(lambda shape: floats(*shape)),
    PACKED_TRACES,
) | st.builds(
    Hidden,
    INT64,
    st.tuples(sizes, sizes).flatmap(lambda shape: floats(*shape)),
    PACKED_TRACES,
    st.tuples(sizes, sizes).flatmap(lambda shape: ints(np.int64, shape)),
)
tokens = st.builds(
    SampledToken,
    INT64,
    st.none() | REALS,
    st.lists(st.tuples(INT64, REALS), max_size=3).map(tuple),
    st.booleans(),
    st.integers(0, 2**16 - 1),
    st.booleans(),
    st.booleans(),
)
results = (
    st.builds(
        lambda n, found, traces, early: BatchResult(n, "decode", tokens=found, traces=traces, early=early),
        INT64,
        st.lists(tokens, max_size=4).map(tuple),
        TRACES,
        st.booleans(),
    )
    | st.builds(
        lambda n, found, traces: BatchResult(n, "encode", vectors=found, traces=traces), INT64, floats(2, 3), TRACES
    )
    | st.builds(
        lambda n, error, traces: BatchResult(n, "error", error=error, traces=traces),
        INT64,
        st.tuples(st.text(), st.text()),
        TRACES,
    )
)
controls = st.builds(Control, st.sampled_from(WORDS), INT64)
messages = decode_batches() | encode_batches() | hidden | results | controls


def same(left: Any, right: Any) -> bool:
    """Equality through dataclasses and tuples, with arrays compared bit by bit and by type."""
    if isinstance(left, np.ndarray):
        return left.dtype == right.dtype and left.shape == right.shape and left.tobytes() == right.tobytes()
    if isinstance(left, tuple):
        return len(left) == len(right) and all(map(same, left, right))
    if hasattr(left, "__dataclass_fields__"):
        return type(left) is type(right) and all(
            same(getattr(left, f.name), getattr(right, f.name)) for f in fields(left)
        )
    return bool(left == right)


def test_sameness_of_the_tests_sees_a_difference() -> None:
    assert not same(Hidden(1, np.zeros((1, 2), np.float32), b""), Hidden(1, np.ones((1, 2), np.float32), b""))
    assert not same((1, 2), (1,))


@given(messages)
def test_message_comes_back_from_its_frames(message: Message) -> None:
    head, payload = (bytes(frame) for frame in wire.encode(message))
    assert same(wire.decode(head, payload), message)


@given(messages, st.binary(max_size=200), st.data())
def test_damaged_message_is_read_or_refused_but_never_worse(
    message: Message, noise: bytes, data: st.DataObject
) -> None:
    frames = [bytes(frame) for frame in wire.encode(message)]
    which = data.draw(st.integers(0, 1))
    at = data.draw(st.integers(0, len(frames[which])))
    frames[which] = frames[which][:at] + noise + frames[which][at + data.draw(st.integers(0, 50)) :]
    try:
        wire.decode(*frames)
    except wire.WireError as error:
        assert str(error)


@given(st.binary(max_size=100), st.binary(max_size=100))
def test_noise_is_refused(head: bytes, payload: bytes) -> None:
    with pytest.raises(wire.WireError):
        wire.decode(head, payload)


@given(messages)
def test_cut_or_longer_payload_is_refused(message: Message) -> None:
    head, payload = (bytes(frame) for frame in wire.encode(message))
    with pytest.raises(wire.WireError):
        wire.decode(head, payload + b"\0")
    if payload:
        with pytest.raises(wire.WireError):
            wire.decode(head, payload[:-1])


def test_another_version_is_refused_with_the_way_out() -> None:
    head, payload = wire.encode(Control("probe"))
    other = bytes(head[:2]) + bytes([wire.VERSION + 1]) + bytes(head[3:])
    with pytest.raises(wire.WireError, match=f"run version {wire.VERSION} on every node"):
        wire.decode(other, payload)


def test_size_beyond_the_payload_allocates_nothing() -> None:
    head, payload = wire.encode(Hidden(1, np.zeros((1, 2), np.float32), b""))
    claimed = bytes(head[:16]) + struct.pack("<5I", 2, 2**31, 2**31, 0, 0) + bytes(head[36:])
    with pytest.raises(wire.WireError, match="declared"):
        wire.decode(claimed, payload)


def test_value_that_does_not_fit_is_refused_before_it_is_sent() -> None:
    row = np.zeros(1, np.int64)
    short = np.zeros(1, np.int32)
    batch = DecodeBatch(0, row, row, short, short, short, short, short, row, (RowSampling(seed=2**64),))
    with pytest.raises(wire.WireError, match="does not fit"):
        wire.encode(batch)


@pytest.mark.parametrize("offset", range(8))
def test_numbers_are_aligned_and_right_wherever_the_frame_begins(offset: int) -> None:
    numbers = np.arange(6, dtype=np.float32).reshape(2, 3)
    head, payload = wire.encode(Hidden(1, numbers, b""))
    buffer = memoryview(bytearray(offset) + bytearray(payload))[offset:]
    found = wire.decode(head, buffer)
    assert isinstance(found, Hidden) and found.numbers.flags.aligned
    np.testing.assert_array_equal(found.numbers, numbers)


def test_batch_without_sampling_keeps_all_else() -> None:
    row, short = np.zeros(1, np.int64), np.zeros(1, np.int32)
    ends = np.array([0, 1], np.int32)
    batch = DecodeBatch(5, row, row, short, ends, short, ends, short, row, (RowSampling(seed=7, seen=row),))
    found = wire.decode(*wire.encode(batch), with_sampling=False)
    assert isinstance(found, DecodeBatch) and found.sampling == ()
    assert same(found.sample_rows, row) and same(found.block_begins, ends)
