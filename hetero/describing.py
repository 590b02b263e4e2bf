"""The model as it is served, in one value. Knows the parts of a runtime."""

from hetero.models.config import DecoderConfig, EncoderConfig
from hetero.starting import Parts
from hetero.types import ModelInfo


def describe(model: str, parts: Parts) -> ModelInfo:
    """The model as it is served."""
    from hetero import __version__

    config = parts.config
    return ModelInfo(
        model,
        "decoder" if isinstance(config, DecoderConfig) else "encoder",
        config.family,
        config.block_count,
        config.hidden_size,
        config.vocabulary_size,
        parts.context_tokens,
        config.labels if isinstance(config, EncoderConfig) else (),
        __version__,
    )
