"""What is public is written down, sorted, importable, and light until it is used."""

import subprocess
import sys

import pytest

import hetero
import placement


@pytest.mark.parametrize("package", [hetero, placement])
def test_public_names_are_sorted_and_there(package: object) -> None:
    names = package.__all__  # type: ignore[attr-defined]
    assert names == sorted(names)
    assert [name for name in names if not hasattr(package, name)] == []


def test_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        hetero.nothing  # noqa: B018


@pytest.mark.parametrize(
    ("statement", "absent"),
    [
        ("import hetero", ("torch", "ray", "grpc", "openvino", "onnxruntime")),
        ("import hetero; hetero.connect", ("torch", "ray", "openvino", "onnxruntime")),
        ("import hetero.cli.main", ("torch", "ray", "grpc", "openvino", "onnxruntime", "transformers")),
        ("import placement", ("torch", "ray", "grpc", "hetero")),
    ],
)
def test_import_brings_in_only_what_it_needs(statement: str, absent: tuple[str, ...]) -> None:
    script = f"import sys; {statement}; print(*(name for name in {absent!r} if name in sys.modules))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == ""
