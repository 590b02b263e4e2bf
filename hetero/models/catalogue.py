"""What a model weighs, from its configuration and the headers of its files: what placement reads before any weight.

Knows bytes; knows neither devices nor times.
"""

from dataclasses import dataclass
from pathlib import Path

from hetero.models import names
from hetero.models.config import DecoderConfig, EncoderConfig, ModelConfig
from hetero.models.names import Source
from hetero.models.weights import Checkpoint
from placement.types import Layer

#: Bytes of one weight at each precision.
PRECISION_BYTES = {"fp32": 4, "fp16": 2, "bf16": 2}
_STORED_BYTES = {"F32": 4, "F16": 2, "BF16": 2}


@dataclass(frozen=True, slots=True)
class Ends:
    """Bytes of the weights that travel with the first and with the last block."""

    embedding_bytes: int
    head_bytes: int


def describe_layers(folder: Path, config: ModelConfig, precision: str | None = None) -> tuple[Layer, ...]:
    """One layer a block, weights counted at `precision` (None: as the checkpoint stores them). Raises ModelError."""
    checkpoint = Checkpoint(folder)
    kv_bytes = config.kv_bytes_per_token if isinstance(config, DecoderConfig) else 0
    return tuple(
        Layer(
            index=index,
            kind="decoder" if isinstance(config, DecoderConfig) else "encoder",
            weight_bytes=_bytes(checkpoint, _block(checkpoint, config, index), precision),
            kv_bytes_per_token=kv_bytes,
            activation_bytes_per_token=4 * config.hidden_size,
        )
        for index in range(config.block_count)
    )


def describe_ends(folder: Path, config: ModelConfig, precision: str | None = None) -> Ends:
    """The embedding stays on the host; a tied head counts like any other, for it is a copy on its device."""
    checkpoint = Checkpoint(folder)
    if isinstance(config, DecoderConfig):
        embedding, head = names.decoder_embedding(checkpoint, config), names.decoder_head(checkpoint, config)
    else:
        embedding = names.encoder_embedding(checkpoint, config)
        head = names.classification_head(checkpoint, config) if config.labels else {}
    return Ends(_bytes(checkpoint, embedding, None), _bytes(checkpoint, head, precision))


def _block(checkpoint: Checkpoint, config: ModelConfig, index: int) -> dict[str, Source]:
    if isinstance(config, EncoderConfig):
        return names.encoder_block(checkpoint, config, index)
    return names.decoder_block(checkpoint, config, index)


def _bytes(checkpoint: Checkpoint, sources: dict[str, Source], precision: str | None) -> int:
    stored = [checkpoint.stored(name) for name in {source.name for source in sources.values()}]
    if precision is None:
        return sum(tensor.length for tensor in stored)
    return sum(tensor.length // _STORED_BYTES[tensor.dtype] for tensor in stored) * PRECISION_BYTES[precision]
