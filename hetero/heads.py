"""Heads of a user's own: a small classifier on a model's vectors, in a folder with a card that says what it promises.

Knows the folder's files and the arithmetic; `privacy.heads.training` trains, `privacy.heads.card` is the card.
"""

import hashlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from hetero.batch import FloatArray
from hetero.errors import InvalidRequestError, ModelError
from privacy.errors import MechanismError
from privacy.heads.card import HeadCard, read_card

WEIGHTS, CARD, READ_ME = "head.safetensors", "card.json", "README.md"
#: Of each weights file so much counts from its beginning and its end: other weights differ there, and it is read fast.
_SAMPLED_BYTES = 1 << 20
#: Whole files that change what vectors a model gives.
_WHOLE_FILES = ("config.json", "tokenizer.json", "modules.json", "1_Pooling/config.json")


class Head:
    """A head ready to use: `card`, and its arrays by name, float32."""

    def __init__(self, card: HeadCard, weights: Mapping[str, FloatArray]) -> None:
        self.card = card
        self._weights = dict(weights)
        _check_shapes(card, self._weights)

    @property
    def labels(self) -> tuple[str, ...]:
        return self.card.labels

    def scores(self, vectors: FloatArray) -> FloatArray:
        """Class logits float32 [N, C] for the model's vectors [N, D], or for what `project` made of them.

        Raises InvalidRequestError where the vectors have neither width.
        """
        rows = np.asarray(vectors, np.float32)
        if rows.ndim != 2 or rows.shape[1] not in (self.card.shape.features, self.card.shape.inputs):
            raise InvalidRequestError(f"the head takes rows of {self.card.shape.inputs} numbers, not {rows.shape}")
        if rows.shape[1] != self.card.shape.inputs:
            rows = self.project(rows)
        if self.card.shape.hidden:
            rows = np.maximum(self._layer("hidden", rows), 0)
        return self._layer("output", rows)

    def project(self, vectors: FloatArray) -> FloatArray:
        """What a client sends in place of the vectors [N, D], before clip and noise: float32 [N, P].

        The vectors themselves where the head has no projection. Raises InvalidRequestError for another width.
        """
        rows = np.asarray(vectors, np.float32)
        if rows.ndim != 2 or rows.shape[1] != self.card.shape.features:
            raise InvalidRequestError(f"the head takes vectors of {self.card.shape.features} numbers, not {rows.shape}")
        return self._layer("projection", rows) if self.card.shape.projected else rows

    def _layer(self, name: str, rows: FloatArray) -> FloatArray:
        out: FloatArray = rows @ self._weights[f"{name}.weight"].T + self._weights[f"{name}.bias"]
        return out


def save_head(folder: Path, card: HeadCard, weights: Mapping[str, FloatArray]) -> None:
    """Write weights, card and README into `folder`, which is made. Raises ModelError where it holds something else."""
    from safetensors.numpy import save_file

    if folder.exists() and (not folder.is_dir() or (any(folder.iterdir()) and not (folder / CARD).is_file())):
        raise ModelError(f"{folder} exists and is no head's folder; name another one")
    folder.mkdir(parents=True, exist_ok=True)
    arrays = {name: np.ascontiguousarray(array, np.float32) for name, array in weights.items()}
    save_file(arrays, folder / WEIGHTS, metadata={"backbone_fingerprint": card.backbone_fingerprint})
    (folder / CARD).write_text(card.to_json(), encoding="utf-8")
    (folder / READ_ME).write_text(card.to_markdown(), encoding="utf-8")


def load_head(folder: Path, backbone: Path | None = None) -> Head:
    """The head in `folder`. With `backbone`, a model's folder, only a head that was trained on it.

    Raises ModelError where a file is missing or broken, or the head is another model's.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        card = read_card((folder / CARD).read_text(encoding="utf-8"))
        weights = load_file(folder / WEIGHTS)
    except (OSError, UnicodeDecodeError, SafetensorError):
        raise ModelError(f"{folder} does not hold a head; make one with: hetero train-head") from None
    except MechanismError as error:
        raise ModelError(f"{folder}: {error}") from None
    if backbone is not None and card.backbone_fingerprint != backbone_fingerprint(backbone):
        raise ModelError(f"the head in {folder} was trained on {card.backbone}, not on this model; train one for it")
    return Head(card, weights)


def backbone_fingerprint(folder: Path) -> str:
    """A digest of what decides a model's vectors: configuration, tokenizer, pooling, and ends of the weights' files."""
    found = hashlib.sha256()
    for name in _WHOLE_FILES:
        if (folder / name).is_file():
            found.update(name.encode() + b"\0" + hashlib.sha256((folder / name).read_bytes()).digest())
    for file in sorted(folder.glob("*.safetensors")):
        found.update(f"{file.name}\0{file.stat().st_size}\0".encode() + _ends(file))
    return found.hexdigest()


def _ends(file: Path) -> bytes:
    found = hashlib.sha256()
    with file.open("rb") as opened:
        found.update(opened.read(_SAMPLED_BYTES))
        opened.seek(max(0, file.stat().st_size - _SAMPLED_BYTES))
        found.update(opened.read(_SAMPLED_BYTES))
    return found.digest()


def _check_shapes(card: HeadCard, weights: Mapping[str, FloatArray]) -> None:
    shape = card.shape
    wanted: dict[str, tuple[int, ...]] = {"output": (shape.classes, shape.hidden or shape.inputs)}
    if shape.hidden:
        wanted["hidden"] = (shape.hidden, shape.inputs)
    if shape.projected:
        wanted["projection"] = (shape.projected, shape.features)
    expected = {f"{name}.weight": size for name, size in wanted.items()}
    expected |= {f"{name}.bias": size[:1] for name, size in wanted.items()}
    if {name: array.shape for name, array in weights.items()} != expected or len(card.labels) != shape.classes:
        raise ModelError("the head's weights are not of its card's shape; use both files of one training")
