"""What a server can serve encrypted: trained heads, documents, linear layers of a checkpoint, as `privacy.he` specs.

Knows files and folders; neither keys nor ciphertexts.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from hetero.batch import FloatArray
from hetero.errors import InvalidRequestError, ModelError
from hetero.heads import CARD, WEIGHTS, load_head
from privacy.he.files import load_spec
from privacy.he.spec import Kind, ModelSpec, linear_spec


def read_encrypted(path: Path, name: str | None = None) -> ModelSpec:
    """The model in a safetensors file (`privacy.he.files`) or in the folder of a trained head.

    Raises EncryptionError or ModelError where there is none, or its arithmetic cannot run encrypted.
    """
    return head_of_folder(path, name) if path.is_dir() else load_spec(path, name)


def head_of_folder(folder: Path, name: str | None = None) -> ModelSpec:
    """A linear head of `hetero train-head`. Its projection, where it has one, is multiplied in.

    Raises ModelError for a head with a hidden layer: its ReLU is no polynomial, so its labels would change.
    """
    from safetensors.numpy import load_file

    card = load_head(folder).card
    if card.shape.hidden:
        raise ModelError(
            f"the head in {folder} has a ReLU, which encryption cannot compute; train one without --hidden, or one"
            f" with a square in the form that docs/encrypted.md describes ({WEIGHTS} beside {CARD} is not that)"
        )
    arrays = {key: array.astype(np.float64) for key, array in load_file(folder / WEIGHTS).items()}
    weight, bias = arrays["output.weight"], arrays["output.bias"]
    if card.shape.projected:
        weight, bias = weight @ arrays["projection.weight"], bias + weight @ arrays["projection.bias"]
    return linear_spec(
        name or folder.resolve().name, weight, bias, kind=Kind.CLASSIFY, labels=card.labels, encoder=card.backbone
    )


def documents(name: str, titles: Sequence[str], vectors: FloatArray, encoder: str = "") -> ModelSpec:
    """Documents to be searched: float [n, columns], one title each, both in the same order.

    The titles go to every tenant who searches. Raises InvalidRequestError unless there is one for each vector.
    """
    if len(titles) != len(vectors) or not len(titles):
        raise InvalidRequestError("an index needs at least one document, and one title for each")
    return linear_spec(name, vectors, kind=Kind.SEARCH, labels=titles, encoder=encoder)


def layer_of_checkpoint(folder: Path, layer: str, name: str | None = None) -> ModelSpec:
    """A linear layer of a model's folder, by the name of its module in the checkpoint, e.g. ``pooler.dense``.

    Raises ModelError where the folder has no such matrix.
    """
    from safetensors import SafetensorError, safe_open

    found: dict[str, FloatArray] = {}
    wanted = {f"{layer}.weight", f"{layer}.bias"}
    for file in sorted(folder.glob("*.safetensors")):
        try:
            with safe_open(file, "np") as opened:
                found |= {key: opened.get_tensor(key) for key in wanted & set(opened.keys())}
        except (OSError, SafetensorError, TypeError):
            raise ModelError(f"{file} cannot be read as float weights; convert the checkpoint to float32") from None
    weight = found.get(f"{layer}.weight")
    if weight is None or weight.ndim != 2:
        raise ModelError(f"{folder} has no linear layer named {layer}; name one as its checkpoint does")
    return linear_spec(name or layer, weight, found.get(f"{layer}.bias"), kind=Kind.LAYER)


def linear_layers(folder: Path, names: Iterable[str]) -> frozenset[str]:
    """Those of `names` that are linear layers in the checkpoint of a model's folder."""
    from safetensors import SafetensorError, safe_open

    wanted = {f"{name}.weight": name for name in names}
    found: set[str] = set()
    for file in sorted(folder.glob("*.safetensors")) if wanted else ():
        try:
            with safe_open(file, "np") as opened:
                there = wanted.keys() & set(opened.keys())
                found |= {wanted[key] for key in there if len(opened.get_slice(key).get_shape()) == 2}
        except (OSError, SafetensorError):
            raise ModelError(f"{file} cannot be read; fetch the checkpoint again") from None
    return frozenset(found)
