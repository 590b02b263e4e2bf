"""Token embedding on the host, before the first slice: rows of mapped tables, so that a vocabulary's matrix costs the
memory of the rows that are used.

Knows tables and position ids; knows nothing of devices.
"""

from pathlib import Path

import numpy as np

from hetero.batch import FloatArray, LongArray
from hetero.errors import ModelError
from hetero.models import names
from hetero.models.config import DecoderConfig, EncoderConfig
from hetero.models.weights import Checkpoint, MappedTable


class DecoderEmbedding:
    """Rows of the token table, plus GPT-2's learned positions."""

    def __init__(self, tokens: MappedTable, positions: MappedTable | None) -> None:
        self._tokens, self._positions = tokens, positions

    def rows(self, token_ids: LongArray, positions: LongArray) -> FloatArray:
        """float32 [T, D] for token ids [T] at positions [T]."""
        rows = self._tokens.rows(token_ids)
        return rows if self._positions is None else rows + self._positions.rows(positions)


class EncoderEmbedding:
    """The sum of token, position and type embeddings, normalised."""

    def __init__(
        self, config: EncoderConfig, tables: dict[str, MappedTable], weight: FloatArray, bias: FloatArray
    ) -> None:
        self._config, self._tables, self._weight, self._bias = config, tables, weight, bias

    def rows(self, token_ids: LongArray, attention_mask: LongArray, token_types: LongArray) -> FloatArray:
        """float32 [B, L, D]; all inputs are int64 [B, L]."""
        summed = self._tables["tokens"].rows(token_ids) + self._tables["positions"].rows(self._positions(token_ids))
        if "types" in self._tables:
            summed += self._tables["types"].rows(token_types)
        return self._normalised(summed)

    def _positions(self, token_ids: LongArray) -> LongArray:
        """0, 1, 2, ...; RoBERTa's begin behind the padding id, and padding itself stays at it."""
        if self._config.family != "roberta":
            return np.broadcast_to(np.arange(token_ids.shape[1]), token_ids.shape)
        real = (token_ids != self._config.pad_token_id).astype(np.int64)
        positions: LongArray = np.cumsum(real, axis=1) * real + self._config.pad_token_id
        return positions

    def _normalised(self, x: FloatArray) -> FloatArray:
        x = x - x.mean(axis=-1, keepdims=True)
        variance = np.square(x).mean(axis=-1, keepdims=True)
        normed: FloatArray = x / np.sqrt(variance + np.float32(self._config.norm_epsilon)) * self._weight + self._bias
        return normed


def load_decoder_embedding(folder: Path, config: DecoderConfig) -> DecoderEmbedding:
    """Raises ModelError where a table is missing or of another shape."""
    checkpoint = Checkpoint(folder)
    sources = names.decoder_embedding(checkpoint, config)
    tokens = _table(checkpoint, sources["tokens"].name, config.vocabulary_size, config.hidden_size)
    if "positions" not in sources:
        return DecoderEmbedding(tokens, None)
    return DecoderEmbedding(
        tokens, _table(checkpoint, sources["positions"].name, config.max_context, config.hidden_size)
    )


def load_encoder_embedding(folder: Path, config: EncoderConfig) -> EncoderEmbedding:
    """Raises ModelError where a table is missing or of another shape."""
    checkpoint = Checkpoint(folder)
    sources = names.encoder_embedding(checkpoint, config)
    rows = {
        "tokens": config.vocabulary_size,
        "positions": config.max_context + config.position_offset,
        "types": config.token_type_count,
    }
    tables = {
        name: _table(checkpoint, sources[name].name, least, config.hidden_size)
        for name, least in rows.items()
        if name in sources
    }
    weight, bias = (checkpoint.tensor(sources[name].name).float().numpy() for name in ("norm.weight", "norm.bias"))
    return EncoderEmbedding(config, tables, weight, bias)


def _table(checkpoint: Checkpoint, name: str, least_rows: int, width: int) -> MappedTable:
    stored = checkpoint.stored(name)
    if len(stored.shape) != 2 or stored.shape[0] < least_rows or stored.shape[1] != width:
        raise ModelError(
            f"{stored.path} holds {name} of shape {list(stored.shape)} where config.json wants "
            f"{[least_rows, width]}: use the config.json and the weights of one model."
        )
    return checkpoint.table(name)
