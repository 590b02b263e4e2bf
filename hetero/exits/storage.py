"""Exits beside their model: `exits/heads.safetensors`, what they said of texts held out, and a card.

Knows files and checks them: heads of another model are refused. What heads compute is `heads.py`'s.
"""

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from adaptive.replay import Observations
from hetero.errors import ModelError
from hetero.exits.heads import TENSORS, ExitHead, head_of
from hetero.exits.identity import file_digest, weights_digest
from hetero.models.config import EncoderConfig
from hetero.models.json_file import read_json

FOLDER, HEADS, HELD, CARD, REPORT = "exits", "heads.safetensors", "held_out.safetensors", "card.json", "report.json"
_SEEN = ("logits", "saturation", "final")
FORMAT = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class ExitCard:
    """What a file of heads says of itself. `agreement`: of each head with the last one, on texts held out.

    `weights` is the digest of the model that the heads were trained on, `texts` how many there were.
    """

    weights: str
    depths: tuple[int, ...]
    block_count: int
    hidden_size: int
    labels: tuple[str, ...]
    texts: int
    backbone: str
    agreement: tuple[float, ...]
    trained_at: str
    hetero_version: str
    format: int = FORMAT


def exits_folder(model: Path) -> Path:
    return model / FOLDER


def has_exits(model: Path) -> bool:
    return (exits_folder(model) / CARD).is_file()


def write_exits(model: Path, heads: tuple[ExitHead, ...], card: ExitCard, held_out: Observations) -> Path:
    """Write heads, what they say of texts held out, and the card, the card last.

    An older report is removed, for it speaks of other heads.

    Raises ModelError where the folder cannot be written.
    """
    from safetensors.numpy import save_file

    folder = exits_folder(model)
    tensors = {
        f"exits.{head.depth}.{name}": getattr(head, name.replace(".", "_")) for head in heads for name in TENSORS
    }
    try:
        folder.mkdir(exist_ok=True)
        (folder / REPORT).unlink(missing_ok=True)
        (folder / CARD).unlink(missing_ok=True)
        save_file(tensors, str(folder / HEADS))
        save_file(
            {name: np.ascontiguousarray(getattr(held_out, name), np.float32) for name in _SEEN}, str(folder / HELD)
        )
        (folder / CARD).write_text(json.dumps(asdict(card), indent=2) + "\n", encoding="utf-8")
    except OSError as error:
        raise ModelError(
            f"{folder} cannot be written ({error.strerror}); copy the model to a folder of yours"
        ) from None
    return folder


def read_card(model: Path) -> ExitCard:
    """Raises ModelError where there are no exits, or the card cannot be read."""
    path = exits_folder(model) / CARD
    if not path.is_file():
        raise ModelError(f"{model} has no exits; train them with `hetero train-exits`")
    values = read_json(path)
    if values.get("format") != FORMAT:
        raise ModelError(f"{path} is of format {values.get('format')!r}, not {FORMAT}; train the exits again")
    try:
        for name in ("depths", "labels", "agreement"):
            values[name] = tuple(values[name])  # type: ignore[arg-type]
        return ExitCard(**values)  # type: ignore[arg-type]
    except TypeError:
        raise ModelError(f"{path} is no card of exits; train the exits again") from None


def read_heads(model: Path, config: EncoderConfig) -> tuple[ExitHead, ...]:
    """The heads in order of depth. Raises ModelError where they are another model's, or damaged."""
    card = read_card(model)
    check_card(model, card, config)
    return load_heads(model, config, card.depths)


def read_held_out(model: Path, card: ExitCard) -> Observations:
    """What the exits said of the texts held out from their training. Raises ModelError."""
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    path = exits_folder(model) / HELD
    try:
        found = load_file(str(path))
        logits, saturation, final = (found[name] for name in _SEEN)
    except (SafetensorError, OSError, KeyError) as error:
        raise ModelError(f"{path} cannot be read ({error}); train the exits again") from None
    if logits.shape != (len(final), len(card.depths), len(card.labels)) or saturation.shape != logits.shape[:2]:
        raise ModelError(f"{path} does not fit the card beside it; train the exits again")
    return Observations(logits, saturation, final, card.depths, card.block_count)


def check_card(model: Path, card: ExitCard, config: EncoderConfig) -> None:
    """Raise ModelError, saying in what they differ, unless the exits were trained on exactly these weights."""
    pairs = (
        ("blocks", card.block_count, config.block_count),
        ("hidden size", card.hidden_size, config.hidden_size),
        ("labels", ", ".join(card.labels), ", ".join(config.labels)),
        ("weights", card.weights, weights_digest(model)),
    )
    check_same_model(model, pairs)


def check_same_model(model: Path, pairs: Iterable[tuple[str, object, object]]) -> None:
    """`pairs`: what is compared, as the exits were trained on it, as the model has it. Raises ModelError at the first
    difference."""
    for what, trained, found in pairs:
        if trained != found:
            raise ModelError(
                f"the exits beside {model} belong to another model: {what} {trained} where this one has {found};"
                " train them again with `hetero train-exits`"
            )


def load_heads(model: Path, config: EncoderConfig, depths: tuple[int, ...]) -> tuple[ExitHead, ...]:
    """The heads at `depths`, of the right shapes; the card is not read. Raises ModelError."""
    from safetensors import SafetensorError, safe_open

    path = exits_folder(model) / HEADS
    size, classes = config.hidden_size, len(config.labels)
    try:
        with safe_open(str(path), framework="numpy") as file:
            found = [{name: file.get_tensor(f"exits.{depth}.{name}") for name in TENSORS} for depth in depths]
    except (SafetensorError, OSError) as error:
        raise ModelError(f"{path} cannot be read as exits ({error}); train them again") from None
    for depth, tensors in zip(depths, found, strict=True):
        inner = len(tensors["inner.bias"])
        shapes = [(inner, 2 * size), (inner,), (classes, inner), (classes,)]
        if [tensors[name].shape for name in TENSORS] != shapes or not all(
            np.isfinite(tensors[name]).all() for name in TENSORS
        ):
            raise ModelError(
                f"{path}: the exit at depth {depth} does not fit {size} hidden numbers and {classes} labels"
            )
    return tuple(head_of(depth, tensors) for depth, tensors in zip(depths, found, strict=True))


def heads_digest(model: Path) -> str:
    return file_digest(exits_folder(model) / HEADS)
