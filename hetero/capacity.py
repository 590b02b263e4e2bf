"""How many KV blocks a plan can hold: what is asked for, bounded by the memory of every device it uses.

Knows bytes of weights and of KV; nothing of engines or processes.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from hetero.backends.base import KvSpec
from hetero.errors import ConfigurationError
from placement.types import Device, Layer, Plan, Stage

BLOCK_TOKENS = 32
#: Part of a device's free memory, after the weights, that the KV cache takes unless told otherwise.
KV_SHARE = 0.6

_NUMBER_BYTES = {"fp32": 4, "bf16": 2, "fp16": 2}


@dataclass(frozen=True, slots=True)
class KvWishes:
    """What the caller asks for. `block_count` overrides the memory's bound, `memory_bytes` (a device) the share."""

    max_sequences: int
    context_tokens: int
    block_count: int | None = None
    memory_bytes: int | None = None


def blocks_for(tokens: int) -> int:
    """KV blocks that hold `tokens` tokens."""
    return -(-tokens // BLOCK_TOKENS)


def choose_kv(wishes: KvWishes, plan: Plan, layers: Sequence[Layer], stored_bytes_per_weight: int) -> KvSpec:
    """The KV cache for `plan`: every sequence at full context if the devices hold it, else as much as they hold.

    Raises ConfigurationError where a device cannot hold one sequence of the whole context, or a stage of static shape
    all its slots.
    """
    _check_wishes(wishes)
    wanted = wishes.max_sequences * blocks_for(wishes.context_tokens)
    count = wishes.block_count or min([wanted, *_bounds(wishes, plan, layers, stored_bytes_per_weight)])
    return KvSpec(count, BLOCK_TOKENS, wishes.max_sequences, wishes.context_tokens)


def _check_wishes(wishes: KvWishes) -> None:
    if wishes.max_sequences < 1:
        raise ConfigurationError(f"max_sequences is {wishes.max_sequences} but must be at least 1")
    least = blocks_for(wishes.context_tokens)
    if wishes.block_count is not None and wishes.block_count < least:
        raise ConfigurationError(
            f"{wishes.block_count} KV blocks of {BLOCK_TOKENS} tokens do not hold one context of "
            f"{wishes.context_tokens} tokens; give at least {least} blocks or a shorter context"
        )


def _bounds(wishes: KvWishes, plan: Plan, layers: Sequence[Layer], stored_bytes_per_weight: int) -> list[int]:
    devices = {stage.device.name: stage.device for stage in plan.stages}
    return [_bound(wishes, device, plan, layers, stored_bytes_per_weight) for device in devices.values()]


def _bound(wishes: KvWishes, device: Device, plan: Plan, layers: Sequence[Layer], stored_bytes_per_weight: int) -> int:
    """Blocks that the paged stages on `device` can hold beside its weights and its stages of static shape."""
    stages = [stage for stage in plan.stages if stage.device.name == device.name]
    weights = sum(_weight_bytes(stage, layers) * _width(stage) // stored_bytes_per_weight for stage in stages)
    room = wishes.memory_bytes
    if room is None:
        room = int(KV_SHARE * max(0, device.memory_bytes - weights))
    per_token = sum(_kv_bytes_per_token(stage, layers) for stage in stages)
    # A static stage keeps every slot at full context, whatever the number of blocks.
    least = wishes.max_sequences * wishes.context_tokens if device.static_shapes else wishes.context_tokens
    if least * per_token > room:
        raise ConfigurationError(_too_small(device, least, per_token, room))
    return room // (per_token * BLOCK_TOKENS)


def _width(stage: Stage) -> int:
    return _NUMBER_BYTES[stage.precision]


def _weight_bytes(stage: Stage, layers: Sequence[Layer]) -> int:
    return sum(layer.weight_bytes for layer in layers[stage.first : stage.last])


def _kv_bytes_per_token(stage: Stage, layers: Sequence[Layer]) -> int:
    """`Layer.kv_bytes_per_token` counts fp16; a stage keeps keys and values at its own precision."""
    return sum(layer.kv_bytes_per_token for layer in layers[stage.first : stage.last]) * _width(stage) // 2


def _too_small(device: Device, tokens: int, bytes_per_token: int, room: int) -> str:
    return (
        f"{device.name} has {room / 2**20:,.0f} MiB for its KV cache but {tokens} tokens need "
        f"{tokens * bytes_per_token / 2**20:,.0f} MiB; give a shorter context, fewer sequences or another plan"
    )
