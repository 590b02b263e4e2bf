"""What the payload of each kind of message holds, and how it is read back: arrays and structs, one after another.

Knows the fields of batches and results; knows nothing of the head (`wire.py`). All is little-endian, and values of
eight bytes come first, so that every array is aligned. A payload must have exactly the size that its counts say.
"""

import math
import struct
from collections.abc import Iterator, Sequence
from itertools import accumulate
from typing import NamedTuple, TypeVar

import numpy as np

from hetero.batch import (
    BatchResult,
    DecodeBatch,
    EncodeBatch,
    FloatArray,
    IntArray,
    LongArray,
    RowSampling,
    SampledToken,
    StageTrace,
)
from hetero.errors import HeteroError
from hetero.pipeline.base import WORDS, Control, Hidden, Message, unpack_traces
from hetero.wire_encode import pack_answers, pack_encode, read_answers, read_encode

INT64, INT32, FLOAT32 = np.dtype("<i8"), np.dtype("<i4"), np.dtype("<f4")
SAMPLING = struct.Struct("<didddqqiiidddi")
TOKEN = struct.Struct("<qd????HI")
ALTERNATIVE = struct.Struct("<qd")
DECODE, ENCODE, HIDDEN, TOKENS, VECTORS, ERROR, CONTROL, DRAFTED, EXITING, ANSWERS = range(1, 11)

Frame = bytes | bytearray | memoryview
Ints = TypeVar("Ints", LongArray, IntArray)


class WireError(HeteroError):
    """The bytes are not a message of this version, or a value does not fit into one."""


class Body(NamedTuple):
    """A message's kind, five counts that say how its payload divides, and the payload."""

    kind: int
    counts: Sequence[int]
    payload: Frame


def pack(message: Message) -> Body:
    """The body of `message`. Raises struct.error or OverflowError if a value does not fit its field."""
    if isinstance(message, Hidden):
        return _pack_numbers(HIDDEN, message.numbers) if message.drafts is None else _pack_drafted(message)
    if isinstance(message, DecodeBatch):
        return _pack_decode(message)
    if isinstance(message, EncodeBatch):
        return Body(ENCODE if message.exits is None else EXITING, *pack_encode(message))
    if isinstance(message, BatchResult):
        return _pack_result(message)
    word = message.word.encode()
    return Body(CONTROL, (len(word), 0, 0, 0, 0), word)


def _pack_numbers(kind: int, numbers: FloatArray) -> Body:
    numbers = np.asarray(numbers, FLOAT32, order="C")
    return Body(kind, (numbers.ndim, *(*numbers.shape, 0, 0, 0, 0)[:4]), _raw(numbers))


def _pack_drafted(message: Hidden) -> Body:
    numbers, drafts = np.asarray(message.numbers, FLOAT32, order="C"), np.asarray(message.drafts, INT64)
    return Body(DRAFTED, (*numbers.shape, *drafts.shape, 0), drafts.tobytes() + numbers.tobytes())


def _raw(numbers: FloatArray) -> Frame:
    return numbers.data.cast("B") if numbers.size else b""


def _pack_decode(batch: DecodeBatch) -> Body:
    seen = [row.seen for row in batch.sampling if row.seen is not None]
    parts = [_bytes(array, INT64) for array in (batch.token_ids, batch.positions, batch.sample_rows, *seen)]
    parts += [_pack_sampling(row) for row in batch.sampling]
    short = (batch.past_lens, batch.begins, batch.block_begins, batch.slots, batch.block_indices)
    parts += [_bytes(array, INT32) for array in short]
    tokens, sequences, blocks = len(batch.token_ids), len(batch.past_lens), len(batch.block_indices)
    return Body(DECODE, (tokens, sequences, blocks, len(batch.sampling), sum(map(len, seen))), b"".join(parts))


def _bytes(array: LongArray | IntArray, dtype: np.dtype[np.int64] | np.dtype[np.int32]) -> bytes:
    return array.astype(dtype, copy=False).tobytes()


def _pack_sampling(row: RowSampling) -> bytes:
    numbers = (row.temperature, row.top_k, row.top_p, row.min_p, row.repetition_penalty, row.seed, row.position)
    seen = -1 if row.seen is None else len(row.seen)
    exits = (row.draft_limit, row.private_clip, row.draft_confidence, row.exit_threshold, row.audited)
    return SAMPLING.pack(*numbers, row.logprobs, seen, *exits)


def _pack_result(result: BatchResult) -> Body:
    if result.error is not None:
        name, text = (part.encode(errors="backslashreplace") for part in result.error)
        return Body(ERROR, (len(name), len(text), 0, 0, 0), name + text)
    if result.vectors is not None and result.exits is not None:
        return Body(ANSWERS, *pack_answers(result.vectors, result.exits))
    if result.vectors is not None:
        return _pack_numbers(VECTORS, result.vectors)
    return _pack_tokens(result)


def _pack_tokens(result: BatchResult) -> Body:
    rows = [_pack_token(token) for token in result.tokens]
    others = [ALTERNATIVE.pack(*pair) for token in result.tokens for pair in token.alternatives]
    return Body(TOKENS, (len(rows), len(others), result.early, 0, 0), b"".join(rows + others))


def _pack_token(token: SampledToken) -> bytes:
    known, others = token.logprob is not None, len(token.alternatives)
    flags = (known, token.accepted, token.exited, token.differs)
    return TOKEN.pack(token.token_id, token.logprob or 0.0, *flags, token.drafted, others)


def unpack(body: Body, number: int, traces: bytes, with_sampling: bool) -> Message:
    """The message around a body. Raises WireError or ValueError unless the payload is exactly what its counts say."""
    if body.kind == HIDDEN:
        return Hidden(number, _read_numbers(body), traces)
    if body.kind == DRAFTED:
        return Hidden(number, *_read_drafted(body, traces))
    if body.kind == DECODE:
        return _read_decode(body, number, with_sampling)
    if body.kind in (ENCODE, EXITING):
        return read_encode(body.counts, body.payload, number, body.kind == EXITING)
    if body.kind == CONTROL:
        return Control(_read_word(body), number)
    return _read_result(body, number, unpack_traces(traces))


def _read_numbers(body: Body) -> FloatArray:
    dimensions, *shape = body.counts
    if not 1 <= dimensions <= len(shape):
        raise WireError(f"malformed message: numbers in {dimensions} dimensions")
    _check_size(body, 4 * math.prod(shape[:dimensions]))
    if not body.payload:
        return np.zeros(shape[:dimensions], np.float32)
    # Received frames may begin anywhere in a buffer; engines want numbers aligned.
    numbers: FloatArray = np.frombuffer(body.payload, FLOAT32).reshape(shape[:dimensions])
    return numbers if numbers.flags.aligned else numbers.copy()


def _read_drafted(body: Body, traces: bytes) -> tuple[FloatArray, bytes, LongArray]:
    tokens, width, rows, drafts, _ = body.counts
    _check_size(body, 8 * rows * drafts + 4 * tokens * width)
    data = bytearray(body.payload)
    numbers: FloatArray = (
        np.frombuffer(data, FLOAT32, -1, 8 * rows * drafts) if tokens * width else np.zeros(0, FLOAT32)
    )
    return numbers.reshape(tokens, width), traces, _longs(data, rows * drafts).reshape(rows, drafts)


def _read_result(body: Body, number: int, traces: tuple[StageTrace, ...]) -> BatchResult:
    if body.kind == TOKENS:
        early = bool(body.counts[2])
        return BatchResult(number, "decode", tokens=tuple(_read_tokens(body)), traces=traces, early=early)
    if body.kind == ANSWERS:
        vectors, exits = read_answers(body.counts, body.payload)
        return BatchResult(number, "encode", vectors=vectors, traces=traces, exits=exits)
    if body.kind == VECTORS:
        return BatchResult(number, "encode", vectors=_read_numbers(body), traces=traces)
    if body.kind == ERROR:
        return BatchResult(number, "error", traces=traces, error=_read_error(body))
    raise WireError(f"malformed message: unknown kind {body.kind}")


def _check_size(body: Body, size: int) -> None:
    if len(body.payload) != size:
        raise WireError(f"malformed message: a body of {len(body.payload)} bytes where {size} are declared")


def _read_decode(body: Body, number: int, with_sampling: bool) -> DecodeBatch:
    tokens, sequences, blocks, rows, seen_count = body.counts
    longs, shorts = (tokens, tokens, rows, seen_count), (sequences, sequences + 1, sequences + 1, sequences, blocks)
    sampling_at = 8 * sum(longs)
    shorts_at = sampling_at + SAMPLING.size * rows
    _check_size(body, shorts_at + 4 * sum(shorts))
    # A copy is aligned and writable; batches are small.
    data = bytearray(body.payload)
    token_ids, positions, sample_rows, seen = _split(_longs(data, sum(longs)), longs)
    past_lens, begins, block_begins, slots, block_indices = _split(_shorts(data, shorts_at), shorts)
    sampling: tuple[RowSampling, ...] = ()
    if with_sampling:
        sampling = tuple(_read_sampling(memoryview(data)[sampling_at:shorts_at], seen))
    return DecodeBatch(
        number, token_ids, positions, past_lens, begins, block_indices, block_begins, slots, sample_rows, sampling
    )


def _longs(data: bytearray, count: int) -> LongArray:
    return np.frombuffer(data, INT64, count)


def _shorts(data: bytearray, offset: int) -> IntArray:
    return np.frombuffer(data, INT32, -1, offset)


def _split(array: Ints, counts: Sequence[int]) -> list[Ints]:
    return [array[end - count : end] for count, end in zip(counts, accumulate(counts), strict=True)]


def _read_sampling(rows: memoryview, seen: LongArray) -> Iterator[RowSampling]:
    begin = 0
    for *values, count, draft_limit, private_clip, confidence, threshold, audited in SAMPLING.iter_unpack(rows):
        end = begin + max(count, 0)
        values += [seen[begin:end] if count >= 0 else None, private_clip, draft_limit, confidence, threshold]
        values.append(bool(audited))
        yield RowSampling(*values)
        begin = end
    if begin != len(seen):
        raise WireError(f"malformed message: {len(seen)} tokens seen where rows have {begin}")


def _read_tokens(body: Body) -> Iterator[SampledToken]:
    rows, others = body.counts[:2]
    others_at = TOKEN.size * rows
    _check_size(body, others_at + ALTERNATIVE.size * others)
    alternatives = list(ALTERNATIVE.iter_unpack(memoryview(body.payload)[others_at:]))
    begin = 0
    for token_id, logprob, *flags, drafted, count in TOKEN.iter_unpack(memoryview(body.payload)[:others_at]):
        known, accepted, exited, differs = flags
        others_of = tuple(alternatives[begin : begin + count])
        yield SampledToken(token_id, logprob if known else None, others_of, accepted, drafted, exited, differs)
        begin += count
    if begin != others:
        raise WireError(f"malformed message: {others} alternatives where tokens have {begin}")


def _read_error(body: Body) -> tuple[str, str]:
    name, text = body.counts[:2]
    _check_size(body, name + text)
    data = bytes(body.payload)
    return data[:name].decode(), data[name:].decode()


def _read_word(body: Body) -> str:
    word = bytes(body.payload).decode()
    if body.kind != CONTROL or word not in WORDS:
        raise WireError(f"malformed message: unknown kind {body.kind} or control word")
    return word
