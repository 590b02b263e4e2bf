"""Drives a chain of compiled slices with ragged batches, for parity tests: token by token what an engine would submit.

    chain = Chain([backend.compile(spec) for spec in specs])
    logits = chain.feed([tokens_a, tokens_b], rounds=[(40, 7), (1, 1), (9, 30)])

Block numbers are handed out scattered over the cache, and slots in reverse, so that no test passes by luck of order.
"""

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np

from hetero.backends.base import CompiledSlice, KvSpec, SliceSpec
from hetero.batch import DecodeBatch, EncodeBatch, FloatArray, RowSampling
from placement.types import Device, DeviceKind

BLOCK_TOKENS = 32
KV = KvSpec(block_count=48, block_tokens=BLOCK_TOKENS, max_sequences=4, max_context=256)
CPU = Device("cpu", DeviceKind.CPU, ("torch", "openvino", "onnx"), ("fp32", "bf16", "fp16"), 1 << 34)


def cut_specs(
    folder: Path, cuts: Sequence[int], device: Device = CPU, precision: str = "fp32", kv: KvSpec | None = KV
) -> list[SliceSpec]:
    """One spec between each two neighbours of `cuts`, for example (0, 2, 4)."""
    return [SliceSpec(folder, first, last, device, precision, 1, kv) for first, last in pairwise(cuts)]


class Chain:
    """Slices of one decoder in order."""

    def __init__(self, slices: Sequence[CompiledSlice], kv: KvSpec = KV) -> None:
        self.slices, self.kv = slices, kv
        self._free = list(np.random.default_rng(7).permutation(kv.block_count))

    def feed(self, tokens: Sequence[Sequence[int]], rounds: Sequence[Sequence[int]]) -> list[FloatArray]:
        """Logits of every token of each sequence, [len, V]; `rounds[i][s]` is how many of s's tokens go in round i."""
        tables: list[list[int]] = [[] for _ in tokens]
        past, found = [0] * len(tokens), [[] for _ in tokens]  # type: ignore[var-annotated]
        for number, counts in enumerate(rounds):
            active = [s for s, count in enumerate(counts) if count]
            for s in active:
                while len(tables[s]) * self.kv.block_tokens < past[s] + counts[s]:
                    tables[s].append(self._free.pop())
            batch = self._batch(number, tokens, counts, past, tables, active)
            logits = self.run(batch)
            for s, row in zip(active, np.split(logits, np.cumsum([counts[s] for s in active])[:-1]), strict=True):
                found[s].append(row)
                past[s] += counts[s]
        for table in tables:
            self._free[:0] = table
        return [np.concatenate(rows) for rows in found]

    def _batch(self, number, tokens, counts, past, tables, active) -> DecodeBatch:  # type: ignore[no-untyped-def]
        places = [np.arange(past[s], past[s] + counts[s]) for s in active]
        ids = [np.asarray(tokens[s])[place] for s, place in zip(active, places, strict=True)]
        total = sum(counts[s] for s in active)
        return DecodeBatch(
            batch_id=number,
            token_ids=np.concatenate(ids).astype(np.int64),
            positions=np.concatenate(places).astype(np.int64),
            past_lens=np.array([past[s] for s in active], np.int32),
            begins=np.cumsum([0] + [counts[s] for s in active]).astype(np.int32),
            block_indices=np.concatenate([tables[s] for s in active]).astype(np.int32),
            block_begins=np.cumsum([0] + [len(tables[s]) for s in active]).astype(np.int32),
            slots=np.array([self.kv.max_sequences - 1 - s for s in active], np.int32),
            sample_rows=np.arange(total, dtype=np.int64),
            sampling=(RowSampling(),) * total,
        )

    def run(self, batch: DecodeBatch) -> FloatArray:
        hidden = None
        for piece in self.slices:
            hidden = piece.run(batch, hidden).copy()
        assert hidden is not None
        return hidden

    def greedy(self, prompts: Sequence[Sequence[int]], count: int) -> list[list[int]]:
        """`count` greedy tokens after each prompt, all prompts in one batch and then one token a round each."""
        tables: list[list[int]] = [[] for _ in prompts]
        texts, past, active = [list(p) for p in prompts], [0] * len(prompts), list(range(len(prompts)))
        for number in range(count):
            counts = [len(text) - done for text, done in zip(texts, past, strict=True)]
            for s in active:
                while len(tables[s]) * self.kv.block_tokens < len(texts[s]):
                    tables[s].append(self._free.pop())
            logits = self.run(self._batch(number, texts, counts, past, tables, active))
            for s, last in zip(active, np.cumsum(counts) - 1, strict=True):
                past[s] = len(texts[s])
                texts[s].append(int(logits[last].argmax()))
        for table in tables:
            self._free[:0] = table
        return [text[len(prompt) :] for text, prompt in zip(texts, prompts, strict=True)]


def encode(slices: Sequence[CompiledSlice], ids: np.ndarray, mask: np.ndarray, types: np.ndarray) -> FloatArray:
    """What an encoder's chain of slices makes of one padded batch."""
    batch, hidden = EncodeBatch(0, ids, mask, types), None
    for piece in slices:
        hidden = piece.run(batch, hidden).copy()
    assert hidden is not None
    return hidden
