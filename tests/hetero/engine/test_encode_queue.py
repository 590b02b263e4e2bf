"""Texts through a real encoder in dynamic batches, against `transformers` one text at a time."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModel

from hetero.batch import Batch, BatchResult, EncodeBatch, FloatArray, LongArray
from hetero.engine.encode_queue import bucket
from hetero.engine.engine import Engine
from hetero.engine.requests import GenerateRequest
from hetero.engine.settings import EngineSettings
from hetero.errors import (
    BackendError,
    CancelledRequestError,
    InvalidRequestError,
    OverloadedError,
    PromptTooLongError,
)
from hetero.models.config_reader import read_config
from hetero.models.tokenizer import Tokenizer
from hetero.pipeline.local import LocalPipeline
from hetero.types import SamplingParams
from placement.types import Device, DeviceKind, Plan, Stage

CPU = Device("cpu", DeviceKind.CPU, ("torch",), ("fp32",), 2**30)
Arrays = tuple[LongArray, LongArray, LongArray]
Checkpoints = Callable[..., Path]


class Recorder:
    """A real pipeline that notes its batches, and lets none return before its gate opens."""

    def __init__(self, folder: Path) -> None:
        plan = Plan((Stage(CPU, "torch", 0, 2, "fp32"), Stage(CPU, "torch", 2, 4, "fp32")), "a test")
        self.pipeline = LocalPipeline(folder, plan, None, threads=1)
        self.reports, self.depth = self.pipeline.reports, self.pipeline.depth
        self.gate = threading.Event()
        self.gate.set()
        self.batches: list[EncodeBatch] = []

    def submit(self, batch: Batch) -> None:
        assert isinstance(batch, EncodeBatch)
        self.batches.append(batch)
        self.pipeline.submit(batch)

    def collect(self, timeout_seconds: float) -> BatchResult | None:
        return self.pipeline.collect(timeout_seconds) if self.gate.wait(timeout_seconds) else None

    def close(self) -> None:
        self.pipeline.close()


@pytest.fixture(scope="module")
def folder(checkpoint: Checkpoints) -> Path:
    return checkpoint("roberta")


@pytest.fixture(scope="module")
def shared_pipeline(folder: Path) -> Iterator[Recorder]:
    pipeline = Recorder(folder)
    yield pipeline
    pipeline.close()


@pytest.fixture
def pipeline(shared_pipeline: Recorder) -> Recorder:
    shared_pipeline.batches.clear()
    shared_pipeline.gate.set()
    return shared_pipeline


@pytest.fixture
def open_engine(folder: Path, pipeline: Recorder) -> Callable[..., Any]:
    @contextmanager
    def give(**limits: int) -> Iterator[Engine]:
        settings = EngineSettings(**({"max_context": 256} | limits))
        engine = Engine(pipeline, Tokenizer(folder), read_config(folder), settings)
        engine.start()
        try:
            yield engine
        finally:
            pipeline.gate.set()
            engine.close()

    return give


def texts_of(lengths: list[int], seed: int = 0) -> Arrays:
    random = np.random.default_rng(seed)
    shape = (len(lengths), max(lengths))
    mask = (np.arange(shape[1]) < np.array(lengths)[:, None]).astype(np.int64)
    return np.where(mask == 1, random.integers(5, 300, shape), 1), mask, np.zeros(shape, np.int64)


@pytest.fixture(scope="module")
def reference(folder: Path) -> Callable[[Arrays], FloatArray]:
    """Mean-pooled vectors of each text alone, without any padding."""
    model = AutoModel.from_pretrained(folder).eval()

    def give(arrays: Arrays) -> FloatArray:
        ids, mask, _ = arrays
        with torch.no_grad():
            rows = [torch.tensor(row[:length][None]) for row, length in zip(ids, mask.sum(1), strict=True)]
            vectors: FloatArray = torch.cat([model(row).last_hidden_state.mean(1) for row in rows]).numpy()
            return vectors

    return give


def test_vectors_equal_those_of_transformers_however_they_are_batched(
    open_engine: Any, reference: Callable[[Arrays], FloatArray], pipeline: Recorder
) -> None:
    calls = [texts_of([3, 70, 5, 9, 200], 0), texts_of([256], 1), texts_of([1, 1, 17, 33], 2)]
    with open_engine(max_batch_tokens=300) as engine:
        futures = [engine.encode(*call) for call in calls]
        for call, future in zip(calls, futures, strict=True):
            np.testing.assert_allclose(future.result(timeout=30), reference(call), atol=2e-5)
        stats = engine.stats()
    assert (stats.finished, stats.running, stats.waiting) == (3, 0, 0)
    assert stats.computed_tokens == sum(int(mask.sum()) for _, mask, _ in calls)
    assert all(batch.token_ids.size <= 300 for batch in pipeline.batches)


def test_texts_of_about_one_length_share_a_batch_and_the_longest_waiting_goes_first(
    open_engine: Any, pipeline: Recorder
) -> None:
    pipeline.gate.clear()
    with open_engine(micro_batches=1, max_sequences=3) as engine:
        futures = [engine.encode(*texts_of([60]))]
        while not pipeline.batches:
            threading.Event().wait(0.001)
        futures += [engine.encode(*texts_of(lengths)) for lengths in ([10], [100, 12, 16, 15], [110])]
        pipeline.gate.set()
        assert all(future.result(timeout=30) is not None for future in futures)
    lengths = [batch.attention_mask.sum(1).tolist() for batch in pipeline.batches]
    assert lengths == [[60], [10, 12, 16], [100, 110], [15]]
    assert [batch.token_ids.shape[1] for batch in pipeline.batches[:3]] == [64, 16, 128]


@pytest.mark.parametrize(
    ("length", "padded"),
    [(1, 16), (16, 16), (17, 24), (24, 24), (25, 32), (33, 48), (64, 64), (65, 96), (100, 128), (129, 192), (250, 250)],
)
def test_lengths_are_padded_to_a_few_sizes(length: int, padded: int) -> None:
    assert bucket(length, 250) == padded


def test_padding_is_at_most_a_third_beyond_sixteen_tokens() -> None:
    assert all(length <= bucket(length, 512) <= 1.5 * length for length in range(16, 513))
    assert len({bucket(length, 512) for length in range(1, 513)}) == 11


def test_a_cancelled_call_is_dropped_and_the_others_are_served(open_engine: Any, pipeline: Recorder) -> None:
    pipeline.gate.clear()
    with open_engine(micro_batches=1, max_sequences=2) as engine:
        in_flight, waiting, other = (engine.encode(*texts_of([8, 8])) for _ in range(3))
        while not pipeline.batches:
            threading.Event().wait(0.001)
        assert in_flight.cancel() and waiting.cancel()
        pipeline.gate.set()
        assert other.result(timeout=30).shape == (2, 64)
        stats = engine.stats()
    assert len(pipeline.batches) == 2
    assert (stats.finished, stats.failed) == (1, 2)


def test_a_batch_error_fails_its_calls_alone(open_engine: Any, pipeline: Recorder, monkeypatch: Any) -> None:
    submit = pipeline.pipeline.submit

    def spoil(batch: EncodeBatch) -> None:
        monkeypatch.undo()
        submit(EncodeBatch(batch.batch_id, batch.token_ids + 10**6, batch.attention_mask, batch.token_types))

    monkeypatch.setattr(pipeline.pipeline, "submit", spoil)
    with open_engine() as engine:
        failed = engine.encode(*texts_of([8, 100]))
        assert isinstance(failed.exception(timeout=30), BackendError)
        assert engine.encode(*texts_of([8, 100])).result(timeout=30).shape == (2, 64)


def test_closing_fails_the_calls_that_are_left(open_engine: Any, pipeline: Recorder) -> None:
    pipeline.gate.clear()
    with open_engine(max_sequences=1, micro_batches=1) as engine:
        futures = [engine.encode(*texts_of([8])) for _ in range(3)]
        closing = threading.Thread(target=engine.close)
        closing.start()
        assert all(isinstance(future.exception(timeout=30), CancelledRequestError) for future in futures)
        pipeline.gate.set()
        closing.join()
        with pytest.raises(CancelledRequestError, match="closed"):
            engine.encode(*texts_of([8]))
    assert pipeline.collect(0.05) is None


def test_too_many_calls_are_refused(open_engine: Any, pipeline: Recorder) -> None:
    pipeline.gate.clear()
    with open_engine(max_waiting=2) as engine:
        waiting = [engine.encode(*texts_of([8])) for _ in range(2)]
        with pytest.raises(OverloadedError, match="2 calls"):
            engine.encode(*texts_of([8]))
        pipeline.gate.set()
        assert all(future.result(timeout=30).shape == (1, 64) for future in waiting)


ONES = np.ones((2, 4), np.int64)


@pytest.mark.parametrize(
    ("arrays", "error"),
    [
        ((ONES[:0], ONES[:0], ONES[:0]), InvalidRequestError),
        ((ONES[0], ONES[0], ONES[0]), InvalidRequestError),
        ((ONES, ONES[:1], ONES), InvalidRequestError),
        ((ONES, ONES * 0, ONES), InvalidRequestError),
        ((ONES, np.array([[0, 1, 1, 1], [1, 1, 1, 1]]), ONES), InvalidRequestError),
        ((ONES * 320, ONES, ONES * 0), InvalidRequestError),
        ((ONES * -1, ONES, ONES * 0), InvalidRequestError),
        (tuple([np.ones((1, 257), np.int64)] * 3), PromptTooLongError),
    ],
    ids=["no texts", "one row", "shapes", "no tokens", "left padding", "id too high", "id negative", "too long"],
)
def test_arrays_that_are_no_texts_are_refused(arrays: Arrays, error: type[Exception], open_engine: Any) -> None:
    with open_engine() as engine, pytest.raises(error):
        engine.encode(*arrays)


def test_an_engine_of_an_encoder_does_not_generate(open_engine: Any) -> None:
    with open_engine() as engine, pytest.raises(InvalidRequestError, match="encoder"):
        engine.submit(GenerateRequest("one", (5,), SamplingParams()), lambda event: None)
