"""The ONNX Runtime engine: CPUs and CUDA devices with paged KV, NPUs with static shapes, encoders on all.

Knows which file compiles which kind of slice on which kind of device, and what each computes in; the rest is beside it.
"""

from hetero.backends.base import Backend, CompiledSlice, SliceSpec
from hetero.backends.onnx_providers import Provider, find_providers, provider_of
from hetero.errors import BackendError
from hetero.models.config import DecoderConfig, EncoderConfig
from hetero.models.config_reader import read_config
from placement.types import Device


class OnnxBackend:
    """`Backend` on ONNX Runtime."""

    name = "onnx"

    def devices(self) -> tuple[Device, ...]:
        return tuple(provider.device for provider in find_providers())

    def compile(self, spec: SliceSpec) -> CompiledSlice:
        provider = provider_of(spec.device)
        _check_precision(spec, provider)
        config = read_config(spec.folder)
        if isinstance(config, EncoderConfig):
            return _encoder(spec, config, provider)
        return _decoder(spec, config, provider)


def backend() -> Backend:
    import onnxruntime  # noqa: F401  absent: the registry says what to install

    return OnnxBackend()


def _check_precision(spec: SliceSpec, provider: Provider) -> None:
    can = provider.device.precisions
    if spec.precision not in can:
        raise BackendError(
            f"ONNX Runtime computes in {' or '.join(can)} on {spec.device.name} ({provider.name}), not in "
            f"{spec.precision}: ask for @{can[0]} or choose another engine."
        )


def _decoder(spec: SliceSpec, config: DecoderConfig, provider: Provider) -> CompiledSlice:
    if provider.device.static_shapes:
        from hetero.backends.onnx_static import StaticDecoderSlice

        return StaticDecoderSlice(spec, config, provider)
    from hetero.backends.onnx_paged import PagedDecoderSlice

    return PagedDecoderSlice(spec, config, provider)


def _encoder(spec: SliceSpec, config: EncoderConfig, provider: Provider) -> CompiledSlice:
    from hetero.backends.onnx_encoder import EncoderSlice

    return EncoderSlice(spec, config, provider)
