"""What the tests of pipelines stand on: plans over the CPU, small batches, and a greedy run to compare."""

from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from hetero.backends.base import KvSpec
from hetero.batch import DecodeBatch, RowSampling, SampledToken
from hetero.pipeline.base import Pipeline
from hetero.pipeline.local import LocalPipeline
from placement.types import Device, DeviceKind, Plan, Stage

PROMPT = (1, 403, 407, 261, 378)


@pytest.fixture(scope="session")
def kv() -> KvSpec:
    return KvSpec(block_count=16, block_tokens=32, max_sequences=4, max_context=128)


@pytest.fixture(scope="session")
def cut() -> Callable[..., Plan]:
    """`cut(0, 2, 5)`: blocks 0-2 and 2-5 on the CPU by torch; `nodes` puts each stage on a node (name, id)."""

    def make(*cuts: int, precision: str = "fp32", nodes: Sequence[tuple[str, str]] = ()) -> Plan:
        stages = []
        for index, (first, last) in enumerate(pairwise(cuts)):
            name, node_id = nodes[index] if nodes else ("", "")
            device = Device(
                f"{name}.cpu" if name else "cpu",
                DeviceKind.CPU,
                ("torch",),
                ("fp32",),
                1 << 30,
                node=name,
                node_id=node_id,
            )
            stages.append(Stage(device, "torch", first, last, precision))
        return Plan(tuple(stages), "a test")

    return make


@pytest.fixture(scope="session")
def batch() -> Callable[..., DecodeBatch]:
    """`batch(number, token_ids, past)`: one sequence's step; `block` is the first of its four KV blocks."""

    def make(number: int, token_ids: Sequence[int], past: int = 0, block: int = 0) -> DecodeBatch:
        count = len(token_ids)
        return DecodeBatch(
            number,
            token_ids=np.array(token_ids, np.int64),
            positions=np.arange(past, past + count),
            past_lens=np.array([past], np.int32),
            begins=np.array([0, count], np.int32),
            block_indices=np.arange(block, block + 4, dtype=np.int32),
            block_begins=np.array([0, 4], np.int32),
            slots=np.array([block // 4 % 4], np.int32),
            sample_rows=np.array([count - 1]),
            sampling=(RowSampling(logprobs=2, position=past + count),),
        )

    return make


@pytest.fixture(scope="session")
def greedy(batch: Callable[..., DecodeBatch]) -> Callable[..., list[SampledToken]]:
    """`greedy(pipeline, steps)`: the tokens that follow the prompt, with their log-probabilities."""

    def run(pipeline: Pipeline, steps: int = 24) -> list[SampledToken]:
        tokens: list[SampledToken] = []
        feed, past = PROMPT, 0
        for number in range(steps):
            pipeline.submit(batch(number, feed, past))
            result = pipeline.collect(60.0)
            assert result is not None and result.error is None and result.batch_id == number
            past, feed = past + len(feed), (result.tokens[0].token_id,)
            tokens += result.tokens
        return tokens

    return run


@pytest.fixture(scope="session")
def reference(
    stories260k: Path, cut: Callable[..., Plan], kv: KvSpec, greedy: Callable[..., list[SampledToken]]
) -> list[SampledToken]:
    """What one stage in this process says."""
    pipeline = LocalPipeline(stories260k, cut(0, 5), kv)
    try:
        return greedy(pipeline)
    finally:
        pipeline.close()
