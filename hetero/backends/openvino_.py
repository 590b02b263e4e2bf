"""The OpenVINO engine: CPUs and Intel's GPUs with paged KV, Intel's NPUs with static shapes, encoders on all.

Knows which file compiles which kind of slice on which kind of device; the rest is beside it, in `openvino_*.py`.
"""

from hetero.backends.base import Backend, CompiledSlice, SliceSpec
from hetero.backends.openvino_devices import list_devices
from hetero.models.config import DecoderConfig, EncoderConfig
from hetero.models.config_reader import read_config
from placement.types import Device


class OpenVinoBackend:
    """`Backend` on OpenVINO."""

    name = "openvino"

    def devices(self) -> tuple[Device, ...]:
        return list_devices()

    def compile(self, spec: SliceSpec) -> CompiledSlice:
        config = read_config(spec.folder)
        if isinstance(config, EncoderConfig):
            return _encoder(spec, config)
        return _decoder(spec, config)


def backend() -> Backend:
    import openvino  # noqa: F401  absent: the registry says what to install

    return OpenVinoBackend()


def _decoder(spec: SliceSpec, config: DecoderConfig) -> CompiledSlice:
    if spec.device.static_shapes:
        from hetero.backends.openvino_static import StaticDecoderSlice

        return StaticDecoderSlice(spec, config)
    from hetero.backends.openvino_decoder import PagedDecoderSlice

    return PagedDecoderSlice(spec, config)


def _encoder(spec: SliceSpec, config: EncoderConfig) -> CompiledSlice:
    from hetero.backends.openvino_encoder import EncoderSlice

    return EncoderSlice(spec, config)
