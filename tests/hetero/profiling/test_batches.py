"""Batches to measure with run on a real slice, and are what they say."""

from pathlib import Path

import numpy as np
import pytest

from hetero.backends import get_backend
from hetero.backends.base import SliceSpec
from hetero.batch import DecodeBatch, EncodeBatch
from hetero.errors import ConfigurationError
from hetero.models.config_reader import read_config
from hetero.profiling.batches import Shape, kv_for, make_batch
from placement import Device, DeviceKind

CPU = Device("cpu", DeviceKind.CPU, ("torch",), ("fp32",), 2**30)
SHAPES = (Shape("prefill", 40), Shape("prefill", 8, 40), Shape("decode", 3, 47), Shape("decode", 1, 63))


@pytest.mark.parametrize("shape", SHAPES)
def test_decoders_batch_runs_and_samples_one_row_a_sequence(stories260k: Path, shape: Shape) -> None:
    kv = kv_for(SHAPES, read_config(stories260k))
    assert kv is not None and kv.max_context == 64 and kv.max_sequences == 3 and kv.block_count == 6
    compiled = get_backend("torch").compile(SliceSpec(stories260k, 0, 5, CPU, "fp32", threads=1, kv=kv))
    batch = make_batch(shape)
    assert isinstance(batch, DecodeBatch)
    assert len(batch.token_ids) == len(batch.positions) == shape.tokens
    assert batch.positions.max() == shape.longest - 1
    logits = compiled.run(batch, None)
    assert logits.shape == (shape.sequence_count, 512) and np.isfinite(logits).all()
    compiled.close()


def test_batch_that_follows_another_sees_its_tokens(stories260k: Path) -> None:
    """Two chunks of one prompt give what the whole prompt gives."""
    kv = kv_for(SHAPES, read_config(stories260k))
    compiled = get_backend("torch").compile(SliceSpec(stories260k, 0, 5, CPU, "fp32", threads=1, kv=kv))
    whole = compiled.run(make_batch(Shape("prefill", 48)), None).copy()
    compiled.run(make_batch(Shape("prefill", 40)), None)
    assert np.allclose(compiled.run(make_batch(Shape("prefill", 8, 40)), None), whole, atol=1e-4)
    compiled.close()


def test_encoders_batch_has_rows_of_its_context(minilm: Path) -> None:
    assert kv_for((Shape("encode", 64, 16),), read_config(minilm)) is None
    batch = make_batch(Shape("encode", 64, 16))
    assert isinstance(batch, EncodeBatch)
    assert batch.token_ids.shape == batch.attention_mask.shape == (4, 16)


def test_shape_beyond_the_models_context_is_refused(stories260k: Path) -> None:
    with pytest.raises(ConfigurationError, match="513 tokens do not fit the model's context of 512"):
        kv_for((Shape("prefill", 513),), read_config(stories260k))
