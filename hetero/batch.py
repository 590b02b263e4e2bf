"""What travels down a pipeline: one ragged micro-batch of a decoder, one padded batch of an encoder, and what returns.

Knows arrays and their shapes; knows neither sockets (`wire.py`) nor who schedules (`engine/`). T is the number of
tokens in the batch, S of sequences, R of rows to sample, V the vocabulary.
"""

from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

IntArray = NDArray[np.int32]
LongArray = NDArray[np.int64]
FloatArray = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class RowSampling:
    """How one row is sampled; complete in itself, so that the last stage keeps no state of requests.

    The random stream is a function of (`seed`, `position`) alone: the same request gives the same tokens however it is
    batched, preempted or placed. `seen` are the distinct token ids of prompt and output so far, given only where
    `repetition_penalty` differs from 1. `logprobs` is how many alternatives to report; -1: none asked, 0: the
    chosen token's only. `temperature` 0 is greedy; `top_k` 0, `top_p` 1, `min_p` 0 are off.
    """

    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    seed: int = 0
    position: int = 0
    logprobs: int = -1
    seen: LongArray | None = None


@dataclass(frozen=True, slots=True)
class DecodeBatch:
    """One ragged step over many sequences: prefill chunks and single decode tokens together, one after another.

    `token_ids`, `positions`: int64 [T]. `past_lens`: int32 [S], tokens already in the cache. `begins`: int32 [S+1],
    where each sequence's tokens start among T. `block_indices`: int32 [sum of blocks], each sequence's KV blocks in
    order, including those that this step's tokens will fill; `block_begins`: int32 [S+1]. `slots`: int32 [S], a number
    in [0, max_sequences) that a sequence keeps while it runs (for stages of static shape). `sample_rows`: int64 [R],
    which of the T rows are sampled, `sampling` how. A sequence whose `past_lens` is 0 starts afresh in its slot.
    """

    batch_id: int
    token_ids: LongArray
    positions: LongArray
    past_lens: IntArray
    begins: IntArray
    block_indices: IntArray
    block_begins: IntArray
    slots: IntArray
    sample_rows: LongArray
    sampling: tuple[RowSampling, ...]

    @property
    def sequence_count(self) -> int:
        return len(self.past_lens)


@dataclass(frozen=True, slots=True)
class EncodeBatch:
    """One padded batch for an encoder: `token_ids`, `attention_mask`, `token_types`: int64 [B, L]."""

    batch_id: int
    token_ids: LongArray
    attention_mask: LongArray
    token_types: LongArray


Batch = DecodeBatch | EncodeBatch


@dataclass(frozen=True, slots=True)
class StageTrace:
    """When a stage had a batch: `time.monotonic` seconds, comparable between processes of one machine only."""

    received_at_seconds: float
    started_at_seconds: float
    ended_at_seconds: float


@dataclass(frozen=True, slots=True)
class SampledToken:
    """One sampled row: the id, its log-probability, and the most likely alternatives as (id, log-probability)."""

    token_id: int
    logprob: float | None = None
    alternatives: tuple[tuple[int, float], ...] = ()


@dataclass(frozen=True, slots=True)
class BatchResult:
    """What comes back from the last stage: `tokens` (R of them) for a decoder, `vectors` float32 [B, D] for an encoder.

    `error` is set instead where a stage failed on the batch: (exception class name, message).
    """

    batch_id: int
    kind: Literal["decode", "encode", "error"]
    tokens: tuple[SampledToken, ...] = ()
    vectors: FloatArray | None = None
    traces: tuple[StageTrace, ...] = field(default=())
    error: tuple[str, str] | None = None
