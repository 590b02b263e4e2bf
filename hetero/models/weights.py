"""A model folder's safetensors, one file or shards with an index: reads single tensors, and nothing else of the files.

Knows file names, headers and dtypes; knows nothing of models (`names.py` says which tensor is which). The files are
read, not mapped, so that a stage's resident memory is its own tensors; only `table` maps, to look up single rows.
"""

import json
import os
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from io import RawIOBase
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from hetero.errors import ModelError
from hetero.models.json_file import read_json

if TYPE_CHECKING:  # sizes are read without torch
    import torch

#: Stored types that are read, and what they are in torch.
TORCH_DTYPES = {"F32": "float32", "F16": "float16", "BF16": "bfloat16"}
_RAW_DTYPES = {"F32": "<f4", "F16": "<f2", "BF16": "<u2"}


@dataclass(frozen=True, slots=True)
class StoredTensor:
    """Where a tensor lies: bytes [begin, begin + length) of `path`."""

    name: str
    path: Path
    dtype: str
    shape: tuple[int, ...]
    begin: int
    length: int


@dataclass(frozen=True, slots=True)
class MappedTable:
    """A matrix [N, D] in a mapped file; only the rows that are taken become resident."""

    raw: NDArray[np.generic]
    dtype: str

    def rows(self, indices: NDArray[np.int64]) -> NDArray[np.float32]:
        """float32 [..., D] for indices [...]."""
        taken = self.raw[indices]
        if self.dtype == "BF16":
            return (taken.astype(np.uint32) << 16).view(np.float32)
        return taken.astype(np.float32)


class Checkpoint:
    """The tensors of the model in `folder`, by name. Raises ModelError where files are missing or corrupt."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._stored: dict[Path, dict[str, StoredTensor]] = {}

    @cached_property
    def _files(self) -> dict[str, Path]:
        """Which file holds each tensor."""
        single, index = self.folder / "model.safetensors", self.folder / "model.safetensors.index.json"
        if single.is_file():
            return dict.fromkeys(self._header(single), single)
        if not index.is_file():
            raise ModelError(
                f"{self.folder} holds neither model.safetensors nor model.safetensors.index.json: "
                "fetch the weights, or convert them to safetensors."
            )
        named = read_json(index).get("weight_map")
        if not isinstance(named, dict) or not all(isinstance(file, str) for file in named.values()):
            raise ModelError(f"{index} has no weight_map from tensors to files: fetch the file again.")
        return {str(name): self._shard(index, str(file)) for name, file in named.items()}

    def _shard(self, index: Path, file: str) -> Path:
        if Path(file).name != file:
            raise ModelError(f"{index} names the file {file!r} outside the model's folder: fetch the index again.")
        return self.folder / file

    def _header(self, path: Path) -> dict[str, StoredTensor]:
        if path not in self._stored:
            self._stored[path] = _read_header(path)
        return self._stored[path]

    def names(self) -> tuple[str, ...]:
        return tuple(self._files)

    def has(self, name: str) -> bool:
        return name in self._files

    def stored(self, name: str) -> StoredTensor:
        """Where `name` lies. Raises ModelError where it is missing or of a type that is not read."""
        path = self._files.get(name)
        found = self._header(path).get(name) if path else None
        if found is None:
            where = path or self.folder
            raise ModelError(f"{where} lacks the tensor {name}: fetch a complete checkpoint of this architecture.")
        if found.dtype not in TORCH_DTYPES:
            raise ModelError(
                f"{found.path} holds {name} as {found.dtype}, which is not supported: "
                f"use a checkpoint in {', '.join(TORCH_DTYPES)}."
            )
        return found

    def tensor(self, name: str) -> "torch.Tensor":
        """The tensor in its stored type, in memory of its own. Reads only its bytes of the file."""
        import torch

        found = self.stored(name)
        result = torch.empty(found.shape, dtype=getattr(torch, TORCH_DTYPES[found.dtype]))
        with open(found.path, "rb", buffering=0) as file:
            file.seek(found.begin)
            _fill(file, result, found)
        return result

    def table(self, name: str) -> MappedTable:
        """The matrix `name`, mapped instead of read."""
        found = self.stored(name)
        raw = np.memmap(found.path, _RAW_DTYPES[found.dtype], "r", found.begin, found.shape)
        return MappedTable(raw, found.dtype)

    def bytes_of(self, names: Iterable[str]) -> int:
        """Stored bytes of the tensors together; reads headers only."""
        return sum(self.stored(name).length for name in names)


def _fill(file: RawIOBase, target: "torch.Tensor", found: StoredTensor) -> None:
    import torch

    rest: NDArray[np.uint8] = target.view(-1).view(torch.uint8).numpy()
    while len(rest):
        count = file.readinto(rest.data)
        if not count:
            raise ModelError(f"{found.path} ended inside the tensor {found.name}: fetch the file again.")
        rest = rest[count:]


def _read_header(path: Path) -> dict[str, StoredTensor]:
    """All tensors of one file; safetensors' own reader checks header, ranges and length first."""
    try:
        with safe_open(path, framework="numpy"):
            pass
        with open(path, "rb") as file:
            size = int.from_bytes(file.read(8), "little")
            header = json.loads(file.read(size))
    except FileNotFoundError:
        raise ModelError(f"{path} is missing: fetch the model's complete folder.") from None
    except (SafetensorError, OSError, ValueError) as error:
        raise ModelError(f"{path} is no intact safetensors file ({error}, {_size(path)}): fetch it again.") from None
    return {
        name: StoredTensor(name, path, item["dtype"], tuple(item["shape"]), 8 + size + begin, end - begin)
        for name, item in header.items()
        if name != "__metadata__"
        for begin, end in [item["data_offsets"]]
    }


def _size(path: Path) -> str:
    try:
        return f"{os.path.getsize(path)} bytes"
    except OSError:
        return "size unknown"
