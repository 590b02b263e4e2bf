"""From a model and the devices there are to a plan: the one that was asked for, or the best single device.

Knows what a model weighs (`models.catalogue`); the choice itself is `placement`'s.
"""

from collections.abc import Sequence
from pathlib import Path

from hetero.cores import with_named_cores
from hetero.errors import ConfigurationError
from hetero.models.catalogue import describe_ends, describe_layers
from hetero.models.config import DecoderConfig, ModelConfig
from placement import Device, Layer, Plan, demand_of, parse_plan, single_device_plan

# Weights are counted in fp16, and from there at whatever precision a device has.
_COUNTED_IN = "fp16"
_COUNTED_BYTES = 2


def plan_model(
    folder: Path,
    config: ModelConfig,
    devices: Sequence[Device],
    text: str | None = None,
    *,
    precision: str | None = None,
    kv_tokens: int = 0,
) -> Plan:
    """Plan the model in `folder`: read `text` where it is given, else choose for weights and `kv_tokens` of KV cache.

    Raises placement.PlacementError where the text is wrong or no single device holds the model.
    """
    return make_plan(
        text,
        devices,
        describe_layers(folder, config, _COUNTED_IN),
        precision=precision,
        stored_bytes_per_weight=_COUNTED_BYTES,
        end_bytes=describe_ends(folder, config, _COUNTED_IN).head_bytes,
        kv_tokens=kv_tokens if isinstance(config, DecoderConfig) else 0,
    )


def make_plan(
    text: str | None,
    devices: Sequence[Device],
    layers: Sequence[Layer],
    *,
    precision: str | None = None,
    stored_bytes_per_weight: int = 4,
    end_bytes: int = 0,
    kv_tokens: int = 0,
) -> Plan:
    """The plan that `text` writes, or the best single real device for `layers`.

    The text may name single cores of a CPU, too, as in ``cpu-core0:0-3,cpu-core1:3-6``.
    `stored_bytes_per_weight` says in what the layers' `weight_bytes` and the head's `end_bytes` are counted;
    `precision` holds for every stage that names none. Raises placement.PlacementError, and ConfigurationError where the
    text names layers on ciphertexts.
    """
    if text is not None:
        plan = parse_plan(text, with_named_cores(devices, text), len(layers), precision)
        if plan.encrypted:
            raise ConfigurationError("which layers run on ciphertexts is a policy's to say; write the blocks alone")
        return plan
    return single_device_plan(devices, demand_of(layers, stored_bytes_per_weight, end_bytes, kv_tokens), precision)
