"""The torch engine: CPUs and CUDA devices, with paged KV, in fp32, bf16 and fp16.

Knows which file holds which kind of slice and how failures of torch are told; `torch_device.py` knows devices.
"""

from hetero.backends.base import Backend, CompiledSlice, SliceSpec
from hetero.models.config import EncoderConfig
from hetero.models.config_reader import read_config
from placement.types import Device


class TorchBackend:
    """`Backend` on torch."""

    name = "torch"

    def devices(self) -> tuple[Device, ...]:
        from hetero.backends.torch_device import find_devices

        return find_devices()

    def compile(self, spec: SliceSpec) -> CompiledSlice:
        """Raises BackendError where torch lacks the device, the precision or the memory; ModelError for the folder."""
        from hetero.backends.torch_decoder import TorchDecoderSlice
        from hetero.backends.torch_device import resolve, telling
        from hetero.backends.torch_encoder import TorchEncoderSlice

        target, config = resolve(spec), read_config(spec.folder)
        with telling(f"load blocks {spec.first}-{spec.last}", spec.device.name):
            if isinstance(config, EncoderConfig):
                return TorchEncoderSlice(spec, config, target)
            return TorchDecoderSlice(spec, config, target)


def backend() -> Backend:
    import torch  # noqa: F401  absent: the registry says what to install

    return TorchBackend()
