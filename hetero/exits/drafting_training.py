"""Trains a decoder's exits on the frozen model: each map learns to say, by the model's head, what the last block says.

The model runs by the torch engine, piece by piece, so that its answers are those that are served. Knows torch; knows no
files but the model's.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import kl_div, log_softmax

from hetero.backends import get_backend
from hetero.backends.base import CompiledSlice, KvSpec, SliceSpec
from hetero.batch import DecodeBatch, FloatArray, LongArray
from hetero.errors import InvalidRequestError
from hetero.exits.drafting_heads import ExitMap
from hetero.exits.training import Tell
from hetero.models.config import DecoderConfig
from hetero.models.decoder import DecoderHead
from hetero.models.loading import load_decoder_head
from placement.types import Device, DeviceKind

_WINDOW, _WINDOWS, _BLOCK = 256, 4, 32
#: One of so many batches is held out.
_HOLD_EVERY = 10
_LEAST_BATCHES = 4


@dataclass(frozen=True, slots=True)
class TrainedMaps:
    """The maps, and each one's agreement with full depth on text held out, without and with it; tokens trained on."""

    maps: tuple[ExitMap, ...]
    plain_agreement: tuple[float, ...]
    agreement: tuple[float, ...]
    tokens: int


class _Pieces:
    """The model cut at its exits, in torch."""

    def __init__(self, folder: Path, config: DecoderConfig, depths: Sequence[int]) -> None:
        kv = KvSpec(_WINDOWS * _WINDOW // _BLOCK, _BLOCK, _WINDOWS, _WINDOW)
        cpu = Device("cpu", DeviceKind.CPU, ("torch",), ("fp32",), 1 << 40)
        cuts = [0, *depths, config.block_count]
        compile_slice = get_backend("torch").compile
        self._slices: list[CompiledSlice] = [
            compile_slice(SliceSpec(folder, first, last, cpu, "fp32", torch.get_num_threads(), kv))
            for first, last in pairwise(cuts)
        ]

    def run(self, windows: LongArray) -> tuple[list[Tensor], Tensor]:
        """Of token ids [B, L]: the states at each exit [B * L, D], and the last block's logits [B * L, V]."""
        batch, hidden, seen = _batch(windows), None, []
        for each in self._slices:
            hidden = each.run(batch, hidden).copy()
            seen.append(torch.from_numpy(hidden))
        return seen[:-1], seen[-1]

    def close(self) -> None:
        for each in self._slices:
            each.close()


def train_maps(
    folder: Path, config: DecoderConfig, token_ids: LongArray, depths: Sequence[int], tell: Tell, epochs: int, seed: int
) -> TrainedMaps:
    """Maps at `depths` from a text's tokens [N]. Raises InvalidRequestError where there are too few."""
    size = _WINDOW * _WINDOWS
    batches = [token_ids[at : at + size].reshape(_WINDOWS, _WINDOW) for at in range(0, len(token_ids) - size + 1, size)]
    if len(batches) < _LEAST_BATCHES:
        raise InvalidRequestError(
            f"{len(token_ids)} tokens of text are too few to train exits; give at least {_LEAST_BATCHES * size}"
        )
    held_out = batches[_HOLD_EVERY // 2 :: _HOLD_EVERY] or batches[-1:]
    taught = [batch for batch in batches if not any(batch is held for held in held_out)]
    pieces, head = _Pieces(folder, config, depths), load_decoder_head(folder, config, torch.float32)
    try:
        maps = [_Map(config.hidden_size) for _ in depths]
        plain = _agreement(pieces, head, maps, held_out)
        for done, batch in enumerate(_shuffled(taught, epochs, seed), 1):
            _learn(pieces, head, maps, batch, 1 - done / (epochs * len(taught)))
            tell(done, epochs * len(taught), "training exits")
        after = _agreement(pieces, head, maps, held_out)
    finally:
        pieces.close()
    found = tuple(each.frozen(depth) for each, depth in zip(maps, depths, strict=True))
    return TrainedMaps(found, plain, after, len(taught) * size)


class _Map(torch.nn.Module):
    """What is added to the state at the exit; nothing at first."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.linear = torch.nn.Linear(size, size)
        torch.nn.init.zeros_(self.linear.weight)
        torch.nn.init.zeros_(self.linear.bias)
        # A step moves each of `size` summands: the wider the model, the smaller it must be.
        self.rate = 0.2 / size
        self.optimiser = torch.optim.AdamW(self.parameters(), lr=self.rate, weight_decay=0.01)

    def forward(self, hidden: Tensor) -> Tensor:
        mapped: Tensor = hidden + self.linear(hidden)
        return mapped

    def frozen(self, depth: int) -> ExitMap:
        weight, bias = (_array(parameter) for parameter in (self.linear.weight, self.linear.bias))
        return ExitMap(depth, weight, bias)


def _learn(pieces: _Pieces, head: DecoderHead, maps: Sequence[_Map], batch: LongArray, left: float) -> None:
    states, final = pieces.run(batch)
    taught = log_softmax(final, dim=-1)
    for each, state in zip(maps, states, strict=True):
        loss = kl_div(log_softmax(head(each(state)), dim=-1), taught, reduction="batchmean", log_target=True)
        each.optimiser.param_groups[0]["lr"] = each.rate * max(left, 0.02)
        each.optimiser.zero_grad()
        torch.autograd.backward(loss)
        each.optimiser.step()


@torch.no_grad()
def _agreement(
    pieces: _Pieces, head: DecoderHead, maps: Sequence[_Map], batches: Sequence[LongArray]
) -> tuple[float, ...]:
    same = np.zeros(len(maps))
    for batch in batches:
        states, final = pieces.run(batch)
        choice = final.argmax(-1)
        said = [head(each(state)).argmax(-1) for each, state in zip(maps, states, strict=True)]
        same += [float((each == choice).float().mean()) for each in said]
    return tuple(round(float(share), 4) for share in same / len(batches))


def _shuffled(batches: Sequence[LongArray], epochs: int, seed: int) -> Iterator[LongArray]:
    random = np.random.default_rng(seed)
    for _ in range(epochs):
        for index in random.permutation(len(batches)):
            yield batches[index]


def _batch(windows: LongArray) -> DecodeBatch:
    """Prompts that are computed whole, each token of them sampled."""
    count, length = windows.shape
    blocks = length // _BLOCK
    return DecodeBatch(
        batch_id=0,
        token_ids=windows.reshape(-1),
        positions=np.tile(np.arange(length, dtype=np.int64), count),
        past_lens=np.zeros(count, np.int32),
        begins=np.arange(count + 1, dtype=np.int32) * length,
        block_indices=np.arange(count * blocks, dtype=np.int32),
        block_begins=np.arange(count + 1, dtype=np.int32) * blocks,
        slots=np.arange(count, dtype=np.int32),
        sample_rows=np.arange(count * length, dtype=np.int64),
        sampling=(),
    )


def _array(parameter: Tensor) -> FloatArray:
    return parameter.detach().numpy().astype(np.float32, copy=True)
