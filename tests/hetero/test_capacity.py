"""How many KV blocks a plan gets: what is asked for, bounded by every device's memory."""

import pytest

from hetero.capacity import KV_SHARE, KvWishes, blocks_for, choose_kv
from hetero.errors import ConfigurationError
from placement.types import Device, DeviceKind, Layer, Plan, Stage

MIB = 2**20
LAYERS = tuple(Layer(index, "decoder", 4 * MIB, 1024, 0) for index in range(4))


def device(name: str, mebibytes: float, static: bool = False) -> Device:
    memory = int(mebibytes * MIB)
    return Device(name, DeviceKind.CPU, ("torch",), ("fp32", "fp16"), memory, static_shapes=static)


def plan(*stages: tuple[Device, int, int, str]) -> Plan:
    return Plan(tuple(Stage(where, "torch", first, last, precision) for where, first, last, precision in stages), "")


def test_blocks_hold_the_tokens_that_are_asked_for() -> None:
    assert [blocks_for(tokens) for tokens in (1, 32, 33, 64)] == [1, 1, 2, 2]


def test_every_sequence_gets_its_whole_context_where_memory_is_plenty() -> None:
    kv = choose_kv(KvWishes(16, 1000), plan((device("cpu", 10_000), 0, 4, "fp32")), LAYERS, 4)
    assert (kv.block_count, kv.block_tokens, kv.max_sequences, kv.max_context) == (16 * 32, 32, 16, 1000)


def test_memory_bounds_the_blocks_after_the_weights() -> None:
    # fp32 doubles the bytes of a token: 4 layers x 1 KiB x 2 x 32 tokens = 256 KiB a block; 16 MiB are weights.
    kv = choose_kv(KvWishes(1000, 512), plan((device("cpu", 26), 0, 4, "fp32")), LAYERS, 4)
    assert kv.block_count == int(10 * KV_SHARE * 4)


def test_lower_precision_holds_twice_the_blocks_and_half_the_weights() -> None:
    kv = choose_kv(KvWishes(1000, 1024), plan((device("cpu", 18), 0, 4, "fp16")), LAYERS, 4)
    assert kv.block_count == int(10 * KV_SHARE * 8)


def test_poorest_device_bounds_all() -> None:
    rich, poor = device("gpu0", 1000), device("cpu", 10)
    kv = choose_kv(KvWishes(1000, 64), plan((rich, 0, 3, "fp32"), (poor, 3, 4, "fp32")), LAYERS, 4)
    assert kv.block_count == int(6 * KV_SHARE * 16)


def test_stages_of_one_device_share_its_memory() -> None:
    cpu = device("cpu", 26)
    whole = choose_kv(KvWishes(1000, 512), plan((cpu, 0, 4, "fp32")), LAYERS, 4)
    cut = choose_kv(KvWishes(1000, 512), plan((cpu, 0, 1, "fp32"), (cpu, 1, 4, "fp32")), LAYERS, 4)
    assert whole == cut


def test_memory_that_is_given_stands_for_the_share() -> None:
    wishes = KvWishes(1000, 64, memory_bytes=MIB)
    assert choose_kv(wishes, plan((device("cpu", 10_000), 0, 4, "fp32")), LAYERS, 4).block_count == 4


def test_blocks_that_are_given_stand_for_everything() -> None:
    assert choose_kv(KvWishes(4, 64, 7), plan((device("cpu", 0), 0, 4, "fp32")), LAYERS, 4).block_count == 7


def test_context_that_no_block_count_holds_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="at least 3 blocks"):
        choose_kv(KvWishes(4, 65, 2), plan((device("cpu", 100), 0, 4, "fp32")), LAYERS, 4)


def test_device_too_small_for_one_context_is_named() -> None:
    with pytest.raises(ConfigurationError, match=r"^cpu has 1 MiB .* 1024 tokens need 8 MiB"):
        choose_kv(KvWishes(4, 1024), plan((device("cpu", 18), 0, 4, "fp32")), LAYERS, 4)


def test_static_stage_needs_all_its_slots() -> None:
    npu, cpu = device("npu", 20, static=True), device("cpu", 1000)
    stages = plan((npu, 0, 2, "fp16"), (cpu, 2, 4, "fp32"))
    assert choose_kv(KvWishes(4, 1024), stages, LAYERS, 4).block_count == 128
    with pytest.raises(ConfigurationError, match=r"^npu has .* 16384 tokens need 32 MiB"):
        choose_kv(KvWishes(16, 1024), stages, LAYERS, 4)


def test_no_sequences_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="max_sequences is 0"):
        choose_kv(KvWishes(0, 64), plan((device("cpu", 100), 0, 4, "fp32")), LAYERS, 4)
