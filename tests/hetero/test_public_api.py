"""What `import hetero` offers: all of it, and at no cost until it is used."""

import subprocess
import sys
from pathlib import Path

import pytest

import hetero

ROOT = Path(__file__).parents[2]


def test_every_public_name_is_there() -> None:
    assert sorted(hetero.__all__) == hetero.__all__
    assert all(getattr(hetero, name) is not None for name in hetero.__all__)
    assert set(hetero.__all__) <= set(dir(hetero))


def test_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = hetero.nothing


@pytest.mark.parametrize(
    ("code", "absent"),
    [
        ("import hetero", {"numpy", "grpc", "torch", "ray", "transformers", "openvino", "onnxruntime"}),
        ("from hetero import connect", {"torch", "ray", "transformers", "openvino", "onnxruntime"}),
        ("from hetero import Runtime", {"ray", "transformers", "openvino", "onnxruntime"}),
    ],
)
def test_import_loads_only_what_it_needs(code: str, absent: set[str]) -> None:
    script = f"{code}; import sys; print(*sys.modules)"
    out = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert absent & set(out.split()) == set()
