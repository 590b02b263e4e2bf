"""What a compiled slice says of itself. Knows ONNX Runtime's version and a provider's name; knows no models."""

import time
from importlib.metadata import PackageNotFoundError, version

from hetero.backends.base import SliceReport
from hetero.backends.onnx_providers import OPENVINO, QNN, Provider

_PLUGIN_PACKAGES = {QNN: "onnxruntime-qnn", OPENVINO: "onnxruntime-ep-openvino"}


def make_report(
    provider: Provider, precision: str, weight_bytes: int, kv_bytes: int, started_seconds: float
) -> SliceReport:
    """The report of a slice that runs wholly on `provider` (checked before); `started_seconds` is perf_counter's."""
    emulated = " (emulated)" if provider.device.emulated else ""
    return SliceReport(
        "onnx",
        _versions(provider),
        f"{provider.name}{emulated}",
        precision,
        weight_bytes,
        kv_bytes,
        time.perf_counter() - started_seconds,
    )


def _versions(provider: Provider) -> str:
    import onnxruntime

    if provider.name not in _PLUGIN_PACKAGES:
        return str(onnxruntime.__version__)
    package = _PLUGIN_PACKAGES[provider.name]
    try:
        return f"{onnxruntime.__version__}, {package} {version(package)}"
    except PackageNotFoundError:
        return f"{onnxruntime.__version__}, {package}"
