"""The KV cache of a stage of static shape: one dense slot a running sequence, kept by the host.

Knows arrays alone. A slot's old contents need no clearing: the mask hides everything at and beyond a sequence's length.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from hetero.backends.base import KvSpec
from hetero.backends.static_layout import StaticStep
from hetero.errors import BackendError
from hetero.models.config import DecoderConfig


class SlotCache:
    """Keys and values of `block_count` blocks: arrays [blocks, max_sequences, KH, max_context, hs] each.

    Raises BackendError where the host's memory does not suffice.
    """

    def __init__(self, config: DecoderConfig, block_count: int, kv: KvSpec, dtype: np.dtype[Any]) -> None:
        shape = (block_count, kv.max_sequences, config.kv_head_count, kv.max_context, config.head_size)
        try:
            self.keys, self.values = np.zeros(shape, dtype), np.zeros(shape, dtype)
        except MemoryError as error:
            raise BackendError(
                f"There is not the memory for {kv.max_sequences} KV slots of {kv.max_context} tokens: allow fewer "
                f"sequences or a shorter context ({error})."
            ) from error

    @property
    def byte_count(self) -> int:
        return self.keys.nbytes + self.values.nbytes

    @property
    def slot_tokens(self) -> int:
        return int(self.keys.shape[3])

    def read(self, step: StaticStep) -> list[NDArray[Any]]:
        """Keys and values of every block for the step's rows: [B, KH, S, hs] each, key and value by turns."""
        slots = [piece.slot for piece in step.pieces]
        slots += [slots[0]] * (step.shape.rows - len(slots))
        return [
            np.ascontiguousarray(kept[block, slots, :, : step.shape.slots])
            for block in range(len(self.keys))
            for kept in (self.keys, self.values)
        ]

    def write(self, step: StaticStep, new: list[NDArray[Any]]) -> None:
        """Keep the step's new keys and values ([B, KH, C, hs] each, in the order of `read`)."""
        for i, rows in enumerate(new):
            kept = (self.keys, self.values)[i % 2][i // 2]
            for row, piece in enumerate(step.pieces):
                kept[piece.slot, :, piece.past : piece.past + piece.count] = rows[row, :, : piece.count]
