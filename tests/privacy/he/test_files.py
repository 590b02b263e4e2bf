"""Encrypted models as files, and what is refused as one."""

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from privacy.errors import EncryptionError
from privacy.he.activation import activation_named
from privacy.he.files import load_spec, save_spec
from privacy.he.spec import Kind, ModelSpec, head_spec, linear_spec

GENERATOR = np.random.default_rng(0)
SPECS = [
    linear_spec("a", GENERATOR.normal(size=(2, 8)), kind=Kind.CLASSIFY, labels=["no", "yes"], encoder="minilm"),
    linear_spec("a", GENERATOR.normal(size=(30, 8)), GENERATOR.normal(size=30), kind=Kind.SEARCH),
    head_spec(
        "a",
        [(GENERATOR.normal(size=(6, 8)), None), (GENERATOR.normal(size=(2, 6)), np.ones(2))],
        [activation_named("gelu")],
    ),
]


@pytest.mark.parametrize("spec", SPECS)
def test_a_model_comes_back_as_it_was(spec: ModelSpec, tmp_path: Path) -> None:
    save_spec(tmp_path / "a.safetensors", spec)
    got = load_spec(tmp_path / "a.safetensors")
    described = (got.name, got.kind, got.labels, got.parameters, got.activations, got.encoder)
    assert described == (spec.name, spec.kind, spec.labels, spec.parameters, spec.activations, spec.encoder)
    vectors = GENERATOR.normal(size=(5, 8))
    np.testing.assert_allclose(got.in_the_clear(vectors), spec.in_the_clear(vectors), rtol=1e-5, atol=1e-5)


def test_a_plain_matrix_is_a_layer(tmp_path: Path) -> None:
    save_file({"weight": np.ones((3, 4), np.float32)}, tmp_path / "m.safetensors")
    assert (load_spec(tmp_path / "m.safetensors").kind, load_spec(tmp_path / "m.safetensors").rows) == (Kind.LAYER, 3)


@pytest.mark.parametrize(
    ("tensors", "metadata"),
    [
        ({"other": np.ones(3, np.float32)}, {}),
        ({"weight": np.ones((2, 3), np.float32)}, {"labels": "no json"}),
        ({"weight": np.ones((2, 3), np.float32)}, {"kind": "generate"}),
        ({"weight": np.ones((2, 3), np.float32)}, {"parameters": "ckks-4096"}),
        ({"weight": np.ones((2, 3), np.float32)}, {"labels": '["one"]'}),
        ({"0.weight": np.ones((2, 3), np.float32), "1.weight": np.ones((2, 2), np.float32)}, {"activations": "[[1]]"}),
        ({"0.weight": np.ones((2, 3), np.float32), "1.weight": np.ones((2, 2), np.float32)}, {}),
        ({"weight": np.full((2, 3), np.nan, np.float32)}, {}),
    ],
)
def test_files_that_hold_no_such_model_are_refused(
    tensors: dict[str, np.ndarray], metadata: dict[str, str], tmp_path: Path
) -> None:
    save_file(tensors, tmp_path / "bad.safetensors", metadata)
    with pytest.raises(EncryptionError):
        load_spec(tmp_path / "bad.safetensors")


def test_files_that_are_none_are_refused(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("hello")
    for name, said in (("text", "no safetensors file"), ("missing", "cannot be read: No such file")):
        with pytest.raises(EncryptionError, match=said):
            load_spec(tmp_path / name)
