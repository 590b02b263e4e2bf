from collections.abc import Iterator
from pathlib import Path

import pytest

from hetero.bench.decode import Load, decode_once, measure, weight_bytes_per_token
from hetero.bench.memory import read_bytes_per_second
from hetero.errors import HeteroError, PromptTooLongError
from hetero.runtime import Runtime
from placement import Device, DeviceKind, Plan, Stage

CPU = Device("cpu", DeviceKind.CPU, ("torch",), ("fp32", "bf16", "fp16"), 2**30)


@pytest.fixture(scope="module")
def runtime(stories260k: Path) -> Iterator[Runtime]:
    with Runtime(str(stories260k), "cpu/torch:0-5", in_process=True, context=128, max_sequences=4) as runtime:
        yield runtime


def test_rate_counts_all_requests_together(runtime: Runtime) -> None:
    ((alone, four),) = measure([runtime], [Load(1, 8, 40), Load(4, 8, 40)], rounds=2, tell=lambda text: None)
    assert alone.concurrency == 1
    assert len(alone.rounds) == len(four.rounds) == 2
    assert min(alone.rounds) <= alone.tokens_per_second <= max(alone.rounds)
    assert four.tokens_per_second > alone.tokens_per_second


def test_request_that_fails_ends_the_measurement(runtime: Runtime) -> None:
    with pytest.raises(PromptTooLongError):
        decode_once(runtime, Load(1, 500, 8))


def test_answers_too_short_to_overlap_are_an_error(runtime: Runtime) -> None:
    with pytest.raises(HeteroError, match="never ran all at once"):
        decode_once(runtime, Load(1, 8, 1))


@pytest.mark.parametrize(("precisions", "width"), [(("fp32", "fp32"), (4, 4)), (("bf16", "fp32"), (2, 4))])
def test_bytes_of_a_token_are_blocks_and_head_at_their_precisions(
    stories260k: Path, precisions: tuple[str, str], width: tuple[int, int]
) -> None:
    """stories260k: width 64, 4 KV heads of 8, inner 172, vocabulary 512; the tied head is read whole."""
    block = 2 * 64 * 64 + 2 * 64 * 32 + 3 * 64 * 172 + 2 * 64
    stages = (Stage(CPU, "torch", 0, 2, precisions[0]), Stage(CPU, "torch", 2, 5, precisions[1]))
    expected = 2 * block * width[0] + (3 * block + 512 * 64 + 64) * width[1]
    assert weight_bytes_per_token(stories260k, Plan(stages, "")) == expected


def test_memory_speed_is_that_of_a_memory() -> None:
    assert 1e8 < read_bytes_per_second(array_bytes=2**26, repeats=2) < 1e13
