"""A decoder's exits: at each, an affine map before the model's own norm and head, kept beside the model.

The map says what the last block's state will be, from that at the exit (Belrose et al. 2023, "tuned lens",
https://arxiv.org/abs/2303.08112); the head is shared, so that an exit adds D * D numbers and not a vocabulary. Knows
arrays and files, and refuses those of another model; knows neither training nor engines.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from hetero.batch import FloatArray
from hetero.errors import ModelError
from hetero.exits.identity import weights_digest
from hetero.exits.storage import CARD, FORMAT, HEADS, REPORT, check_same_model, exits_folder
from hetero.models.config import DecoderConfig
from hetero.models.json_file import read_json

KIND = "decoder"


@dataclass(frozen=True, slots=True)
class ExitMap:
    """`weight` [D, D] and `bias` [D], float32, of the exit after `depth` blocks."""

    depth: int
    weight: FloatArray
    bias: FloatArray

    def apply(self, hidden: FloatArray) -> FloatArray:
        """What the head is to see for hidden states [R, D]."""
        mapped: FloatArray = hidden + hidden @ self.weight.T + self.bias
        return mapped


@dataclass(frozen=True, slots=True, kw_only=True)
class DraftCard:
    """What a decoder's exits say of themselves. `agreement`: how often each one's likeliest token is full depth's, on
    text held out; `plain_agreement`: the same of the model's head alone. `weights` is the digest of the model."""

    weights: str
    depths: tuple[int, ...]
    block_count: int
    hidden_size: int
    tokens: int
    agreement: tuple[float, ...]
    plain_agreement: tuple[float, ...]
    trained_at: str
    hetero_version: str
    kind: str = KIND
    format: int = FORMAT


def write_maps(model: Path, maps: Sequence[ExitMap], card: DraftCard) -> Path:
    """Write maps and card, the card last; an older report is removed. Raises ModelError where that cannot be."""
    from safetensors.numpy import save_file

    folder = exits_folder(model)
    tensors = {f"exits.{each.depth}.{name}": getattr(each, name) for each in maps for name in ("weight", "bias")}
    try:
        folder.mkdir(exist_ok=True)
        for stale in (folder / REPORT, folder / CARD, *folder.glob("report-*.json")):
            stale.unlink(missing_ok=True)
        save_file(tensors, str(folder / HEADS))
        (folder / CARD).write_text(json.dumps(asdict(card), indent=2) + "\n", encoding="utf-8")
    except OSError as error:
        raise ModelError(
            f"{folder} cannot be written ({error.strerror}); copy the model to a folder of yours"
        ) from None
    return folder


def trained_depths(model: Path, config: DecoderConfig) -> tuple[int, ...]:
    """The depths of the exits beside the model; none where it has none. Raises ModelError as `read_map` does."""
    card = _read_card(model)
    if card is None:
        return ()
    _check(model, card, config)
    return card.depths


def read_map(model: Path, config: DecoderConfig, depth: int) -> ExitMap | None:
    """The map at `depth`; None where none was trained. Raises ModelError where it is another model's, or damaged."""
    from safetensors import SafetensorError, safe_open

    if depth not in trained_depths(model, config):
        return None
    path, size = exits_folder(model) / HEADS, config.hidden_size
    try:
        with safe_open(str(path), framework="numpy") as file:
            weight, bias = (file.get_tensor(f"exits.{depth}.{name}") for name in ("weight", "bias"))
    except (SafetensorError, OSError) as error:
        raise ModelError(f"{path} cannot be read as exits ({error}); train them again") from None
    if weight.shape != (size, size) or bias.shape != (size,) or not np.isfinite(weight).all():
        raise ModelError(f"{path}: the exit at depth {depth} does not fit {size} hidden numbers; train it again")
    return ExitMap(depth, np.ascontiguousarray(weight, np.float32), np.ascontiguousarray(bias, np.float32))


def _read_card(model: Path) -> DraftCard | None:
    path = exits_folder(model) / CARD
    if not path.is_file():
        return None
    values = read_json(path)
    if values.get("format") != FORMAT or values.get("kind") != KIND:
        raise ModelError(f"{path} is no card of a decoder's exits; train them with `hetero train-exits`")
    try:
        for name in ("depths", "agreement", "plain_agreement"):
            values[name] = tuple(values[name])  # type: ignore[arg-type]
        return DraftCard(**values)  # type: ignore[arg-type]
    except (TypeError, KeyError):
        raise ModelError(f"{path} is no card of exits; train the exits again") from None


def _check(model: Path, card: DraftCard, config: DecoderConfig) -> None:
    pairs = (
        ("blocks", card.block_count, config.block_count),
        ("hidden size", card.hidden_size, config.hidden_size),
        ("weights", card.weights, weights_digest(model)),
    )
    check_same_model(model, pairs)
