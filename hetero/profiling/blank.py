"""A stage that computes nothing of a model: serving as every stage does, it shows what a link costs by itself.

It keeps its core busy for a moment and reads memory meanwhile, as a stage does: a process that has slept, and whose
caches hold something else, takes up to twice as long to receive a message. Knows the worker's interface; compiles and
loads nothing. It runs as a Ray actor in the place of `StageServer`.
"""

import time

import numpy as np

from hetero.backends.base import SliceReport, SliceSpec
from hetero.batch import Batch, DecodeBatch, FloatArray
from hetero.models.config_reader import read_config
from hetero.pipeline.serving import StageServer
from hetero.pipeline.worker import StageWorker

#: Logits of a blank last stage: few, for sampling is no part of a link.
_VOCABULARY = 8
BUSY_SECONDS = 2e-3
#: More than a core's own caches hold.
_MEMORY_NUMBERS = 2 << 20


class BlankServer(StageServer):
    """A stage's process with a slice that gives zeros of the right shape."""

    def _make_worker(self, spec: SliceSpec, engine: str, is_first: bool, is_last: bool) -> StageWorker:
        return BlankWorker(spec, engine, is_first, is_last)


class BlankWorker(StageWorker):
    """A worker on a `BlankSlice`."""

    def _compile(self, spec: SliceSpec, engine: str) -> "BlankSlice":
        return BlankSlice(spec, engine, self.is_last)


class BlankSlice:
    """`CompiledSlice` of zeros, as wide as the model's hidden states; `ends` in logits."""

    def __init__(self, spec: SliceSpec, engine: str, ends: bool) -> None:
        self._width = read_config(spec.folder).hidden_size
        self._ends = ends
        self._memory = np.ones(_MEMORY_NUMBERS, np.float32)
        self.report = SliceReport(engine, "", str(spec.device.kind), spec.precision, 0, 0, 0.0)

    def run(self, batch: Batch, hidden: FloatArray | None) -> FloatArray:
        until = time.monotonic() + BUSY_SECONDS
        while time.monotonic() < until:
            self._memory.sum()
        if self._ends:
            rows = len(batch.sample_rows) if isinstance(batch, DecodeBatch) else len(batch.token_ids)
            return np.zeros((rows, _VOCABULARY), np.float32)
        return np.zeros((*batch.token_ids.shape, self._width), np.float32)

    def close(self) -> None:
        """There is nothing to free."""
