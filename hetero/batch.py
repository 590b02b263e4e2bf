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
    chosen token's only. `temperature` 0 is greedy; `top_k` 0, `top_p` 1, `min_p` 0 are off. Where `private_clip` is
    above 0, the token is drawn by `privacy.mechanisms.BoundedTokens` of that clip and `temperature`, from the operating
    system's randomness, and nothing else of this counts. A first stage that has an exit head drafts up to `draft_limit`
    tokens after this row, as long as the exit's likeliest token has at least the probability `draft_confidence`.
    With an `exit_threshold` above 0 the exit's token is taken as it is wherever its probability reaches that, and full
    depth only says the others; of an `audited` row it says all, and what differs is told.
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
    private_clip: float = 0.0
    draft_limit: int = 0
    draft_confidence: float = 0.0
    exit_threshold: float = 0.0
    audited: bool = False


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
class ExitRows:
    """What the rows of an encoder's batch carry where the stages have E exits, over C classes.

    `ids`: int64 [B], each row's batch and place in it, as `row_ids` makes them; they stay with a row when batches are
    formed anew. `limits`: float32 [B, E], the score at which a row stops at an exit; infinity asks the exit without
    ever stopping, NaN does not ask it. `seen`: float32 [B, E, C + 1], the logits of the exits passed and the
    saturation; NaN where one was not asked.
    """

    ids: LongArray
    limits: FloatArray
    seen: FloatArray


@dataclass(frozen=True, slots=True)
class EncodeBatch:
    """One padded batch for an encoder: `token_ids`, `attention_mask`, `token_types`: int64 [B, L].

    `exits` is set where a row may stop at an exit, or an exit is to be observed.
    """

    batch_id: int
    token_ids: LongArray
    attention_mask: LongArray
    token_types: LongArray
    exits: ExitRows | None = None


Batch = DecodeBatch | EncodeBatch


@dataclass(frozen=True, slots=True)
class StageTrace:
    """When a stage had a batch: `time.monotonic` seconds, comparable between processes of one machine only."""

    received_at_seconds: float
    started_at_seconds: float
    ended_at_seconds: float


@dataclass(frozen=True, slots=True)
class SampledToken:
    """One sampled row: the id, its log-probability, and the most likely alternatives as (id, log-probability).

    `accepted`: the token was drafted and held, so that the row's next token follows it. `drafted`, on a row's last
    token: how many drafts the row had. `exited`: an exit said it, and full depth was not heard; of an audited row
    `differs` tells whether full depth would have said another.
    """

    token_id: int
    logprob: float | None = None
    alternatives: tuple[tuple[int, float], ...] = ()
    accepted: bool = False
    drafted: int = 0
    exited: bool = False
    differs: bool = False


@dataclass(frozen=True, slots=True)
class ExitAnswers:
    """Of which rows a result is, where exits are on: `ids` int64 [B], their `depth` in blocks, `seen` [B, E, C + 1]."""

    ids: LongArray
    depth: int
    seen: FloatArray


@dataclass(frozen=True, slots=True)
class BatchResult:
    """What comes back from the last stage.

    `tokens`, one or more for each of R rows, for a decoder; `vectors`, float32 [B, D], for an encoder. `error` is set
    instead where a stage failed on the batch: (exception class name, message). With `exits` it answers some rows of a
    batch; others come by themselves. `early`: ahead of a decoder's result, what the first stage's exit said of its
    rows; one that the last stage is to answer has the one token id -1.
    """

    batch_id: int
    kind: Literal["decode", "encode", "error"]
    tokens: tuple[SampledToken, ...] = ()
    vectors: FloatArray | None = None
    traces: tuple[StageTrace, ...] = field(default=())
    error: tuple[str, str] | None = None
    exits: ExitAnswers | None = None
    early: bool = False


#: Rows that one batch can have, so that a row's id holds both numbers.
MAX_ROWS = 1 << 20


def row_ids(batch_id: int, count: int) -> LongArray:
    """Ids of a batch's rows, int64 [count]: `id // MAX_ROWS` is the batch, `id % MAX_ROWS` the place."""
    return batch_id * MAX_ROWS + np.arange(count, dtype=np.int64)
