"""From a model and texts to exits on disk: the steps of `hetero train-exits`.

Knows the order of the steps; the steps are beside it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

import hetero
from adaptive.fitting import LEAST_SAMPLES
from hetero.batch import LongArray
from hetero.errors import InvalidRequestError, ModelError
from hetero.exits.export import write_classifier
from hetero.exits.identity import weights_digest
from hetero.exits.joint import train_jointly
from hetero.exits.network import Rows
from hetero.exits.storage import ExitCard, write_exits
from hetero.exits.texts import LabelledTexts
from hetero.exits.training import Tell, Trained, train_heads
from hetero.models.config import EncoderConfig, ModelConfig
from hetero.models.config_reader import read_config
from hetero.models.tokenizer import Tokenizer

#: Longer texts are cut, in training only.
MAX_TOKENS = 128
#: Fewer teach a head nothing, and leave nothing to hold out.
LEAST_TEXTS = 100
#: Measures are chosen, and temperatures and gates fitted, on texts that the heads have not seen.
_HELD_SHARE, _MOST_HELD = 0.1, 2000


@dataclass(frozen=True, slots=True)
class Made:
    """The folder to serve, and what its exits say of themselves."""

    model: Path
    card: ExitCard


def all_depths(config: ModelConfig) -> tuple[int, ...]:
    """Every depth inside the model: calibration keeps those that pay."""
    return tuple(range(1, config.block_count))


def make_frozen(folder: Path, data: LabelledTexts, depths: Sequence[int], tell: Tell, seed: int = 0) -> Made:
    """Exits for the classifier in `folder`, whose own weights stay. Raises ModelError or InvalidRequestError."""
    config = encoder_config(folder)
    taught, held_out = _split(len(data), seed)
    rows = _rows(folder, config, data)
    trained = train_heads(folder, config, rows.take(taught), rows.take(held_out), depths, tell, seed=seed)
    return _write(folder, config, trained, len(taught), "frozen")


def make_joint(
    folder: Path, data: LabelledTexts, depths: Sequence[int], target: Path, tell: Tell, epochs: int = 3, seed: int = 0
) -> Made:
    """A classifier with exits in the new folder `target`, trained as a whole from `folder` on labelled texts.

    Raises ModelError or InvalidRequestError.
    """
    config = encoder_config(folder)
    if data.labels is None or len(data.names) < 2:
        raise InvalidRequestError(
            "--train-backbone needs texts of at least two labels; put a tab and a label behind each"
        )
    if target.exists():
        raise ModelError(f"{target} exists; name another folder for the trained model")
    rows = _rows(folder, config, data)
    taught, held_out = _split(len(data), seed)
    parts = (rows.take(taught), data.labels[taught])
    network = train_jointly(folder, config, *parts, len(data.names), depths, tell, epochs, seed)
    write_classifier(folder, config, network, data.names, target)
    # Heads learned from a backbone and a last head that still moved; on what these came to, new ones agree more often.
    config = encoder_config(target)
    trained = train_heads(target, config, rows.take(taught), rows.take(held_out), depths, tell, seed=seed)
    return _write(target, config, trained, len(taught), f"trained jointly, {epochs} epochs")


def encoder_config(folder: Path) -> EncoderConfig:
    config = read_config(folder)
    if not isinstance(config, EncoderConfig):
        raise ModelError(f"{folder} is a decoder; exits are trained for encoders here")
    return config


def _split(count: int, seed: int) -> tuple[LongArray, LongArray]:
    """Rows to train on, and rows to hold out, by chance."""
    order = np.random.default_rng(seed).permutation(count)
    held = min(_MOST_HELD, max(LEAST_SAMPLES, int(count * _HELD_SHARE)))
    return order[held:], order[:held]


def _rows(folder: Path, config: EncoderConfig, data: LabelledTexts) -> Rows:
    if len(data) < LEAST_TEXTS:
        raise InvalidRequestError(f"{len(data)} texts are too few to train exits; give at least {LEAST_TEXTS}")
    return Rows(*Tokenizer(folder).encode_batch_padded(data.texts, min(MAX_TOKENS, config.max_context)))


def _write(folder: Path, config: EncoderConfig, trained: Trained, texts: int, backbone: str) -> Made:
    card = ExitCard(
        weights=weights_digest(folder),
        depths=tuple(head.depth for head in trained.heads),
        block_count=config.block_count,
        hidden_size=config.hidden_size,
        labels=config.labels,
        texts=texts,
        backbone=backbone,
        agreement=tuple(round(share, 4) for share in trained.agreement),
        trained_at=datetime.now(UTC).isoformat(timespec="seconds"),
        hetero_version=hetero.__version__,
    )
    write_exits(folder, trained.heads, card, trained.held_out)
    return Made(folder, card)
