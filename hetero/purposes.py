"""What a model can be asked for, by its configuration: the one place that says so, before a start and after it.

Knows configurations; knows neither folders nor how models run.
"""

from hetero.errors import InvalidRequestError
from hetero.models.config import DecoderConfig, EncoderConfig, ModelConfig


def require_decoder(model: str, config: ModelConfig) -> DecoderConfig:
    """The configuration of a model that generates. Raises InvalidRequestError, naming `model`, for another."""
    if not isinstance(config, DecoderConfig):
        raise InvalidRequestError(f"{model} is an encoder and does not generate; embed or classify with it")
    return config


def require_encoder(model: str, config: ModelConfig) -> EncoderConfig:
    """The configuration of a model that gives vectors or classes. Raises as `require_decoder`."""
    if not isinstance(config, EncoderConfig):
        raise InvalidRequestError(f"{model} is a decoder and gives no vectors; generate with it")
    return config


def require_embedder(model: str, config: ModelConfig) -> None:
    """Raises InvalidRequestError, naming `model`, unless it embeds."""
    if require_encoder(model, config).labels:
        raise InvalidRequestError(f"{model} has a classification head and does not embed; classify with it")


def require_classifier(model: str, config: ModelConfig) -> None:
    """Raises InvalidRequestError, naming `model`, unless it classifies."""
    if not require_encoder(model, config).labels:
        raise InvalidRequestError(f"{model} has no classification head; embed with it")
