"""Batches to measure with: shaped like those that the engine makes, filled with nothing in particular.

Knows the layout of batches; knows neither pipelines nor what the times are used for.
"""

from dataclasses import dataclass
from itertools import count
from typing import Literal

import numpy as np

from hetero.backends.base import KvSpec
from hetero.batch import Batch, DecodeBatch, EncodeBatch, RowSampling
from hetero.capacity import BLOCK_TOKENS, blocks_for
from hetero.errors import ConfigurationError
from hetero.models.config import DecoderConfig, ModelConfig

Phase = Literal["prefill", "decode", "encode"]

_numbers = count(1)


@dataclass(frozen=True, slots=True)
class Shape:
    """What one batch asks of a stage.

    prefill: one sequence's next `tokens` tokens, `context_tokens` being in its cache. decode: one token for each of
    `tokens` sequences with `context_tokens` in the cache. encode: `tokens` padded tokens in rows of `context_tokens`.
    """

    phase: Phase
    tokens: int
    context_tokens: int = 0

    @property
    def sequence_count(self) -> int:
        return self.tokens if self.phase == "decode" else 1

    @property
    def longest(self) -> int:
        """Tokens of the longest sequence when the batch is done."""
        return self.context_tokens + (1 if self.phase == "decode" else self.tokens)


def kv_for(shapes: tuple[Shape, ...], config: ModelConfig) -> KvSpec | None:
    """A KV cache that holds each of `shapes`; None for an encoder."""
    if not isinstance(config, DecoderConfig):
        return None
    longest = max(shape.longest for shape in shapes)
    if longest > config.max_context:
        raise ConfigurationError(f"{longest} tokens do not fit the model's context of {config.max_context} tokens")
    blocks = max(shape.sequence_count * blocks_for(shape.longest) for shape in shapes)
    return KvSpec(blocks, BLOCK_TOKENS, max(shape.sequence_count for shape in shapes), longest)


def make_batch(shape: Shape) -> Batch:
    """A batch of this shape; the last token of each sequence is sampled, greedily."""
    if shape.phase == "encode":
        return _encode_batch(shape)
    each = 1 if shape.phase == "decode" else shape.tokens
    blocks = blocks_for(shape.longest)
    sequences = shape.sequence_count
    return DecodeBatch(
        next(_numbers),
        token_ids=np.ones(sequences * each, np.int64),
        positions=np.tile(np.arange(shape.context_tokens, shape.longest), sequences),
        past_lens=np.full(sequences, shape.context_tokens, np.int32),
        begins=np.arange(sequences + 1, dtype=np.int32) * each,
        block_indices=np.arange(sequences * blocks, dtype=np.int32),
        block_begins=np.arange(sequences + 1, dtype=np.int32) * blocks,
        slots=np.arange(sequences, dtype=np.int32),
        sample_rows=np.arange(each - 1, sequences * each, each),
        sampling=(RowSampling(position=shape.longest),) * sequences,
    )


def _encode_batch(shape: Shape) -> EncodeBatch:
    size = (shape.tokens // shape.context_tokens, shape.context_tokens)
    return EncodeBatch(next(_numbers), np.ones(size, np.int64), np.ones(size, np.int64), np.zeros(size, np.int64))
