"""From a decoder and a text to its exits on disk: the steps of `hetero train-exits` for decoders."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

import hetero
from hetero.batch import LongArray
from hetero.errors import InvalidRequestError
from hetero.exits.drafting_heads import DraftCard, write_maps
from hetero.exits.drafting_training import train_maps
from hetero.exits.identity import weights_digest
from hetero.exits.training import Tell
from hetero.models.config import DecoderConfig
from hetero.models.tokenizer import Tokenizer

#: More text than this makes exits no better that matters.
MOST_TOKENS = 200_000


@dataclass(frozen=True, slots=True)
class MadeMaps:
    """The folder to serve, and what its exits say of themselves."""

    model: Path
    card: DraftCard


def make_maps(
    folder: Path, config: DecoderConfig, text_file: Path, depths: Sequence[int], tell: Tell, epochs: int, seed: int
) -> MadeMaps:
    """Exits for the decoder in `folder`, which stays as it is. `depths`: none takes a quarter of the blocks.

    Raises InvalidRequestError where the text is too short or cannot be read, or a depth lies outside the model.
    """
    chosen = _checked(config, depths or (max(1, config.block_count // 4),))
    trained = train_maps(folder, config, _tokens(folder, text_file), chosen, tell, epochs, seed)
    card = DraftCard(
        weights=weights_digest(folder),
        depths=chosen,
        block_count=config.block_count,
        hidden_size=config.hidden_size,
        tokens=trained.tokens,
        agreement=trained.agreement,
        plain_agreement=trained.plain_agreement,
        trained_at=datetime.now(UTC).isoformat(timespec="seconds"),
        hetero_version=hetero.__version__,
    )
    write_maps(folder, trained.maps, card)
    return MadeMaps(folder, card)


def _checked(config: DecoderConfig, depths: Sequence[int]) -> tuple[int, ...]:
    inside = all(0 < depth < config.block_count for depth in depths)
    if not inside or list(depths) != sorted(set(depths)):
        raise InvalidRequestError(
            f"exits at {', '.join(map(str, depths))}: they must rise and be from 1 to {config.block_count - 1}, the"
            f" depths inside a model of {config.block_count} blocks"
        )
    return tuple(depths)


def _tokens(folder: Path, text_file: Path) -> LongArray:
    try:
        text = text_file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidRequestError(f"{text_file} cannot be read as text ({error})") from None
    return np.array(Tokenizer(folder).encode(text)[:MOST_TOKENS], np.int64)
