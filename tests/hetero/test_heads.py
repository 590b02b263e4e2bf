"""Heads in folders: they classify as they were trained to, and a head of another model is refused."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from hetero.errors import InvalidRequestError, ModelError
from hetero.heads import CARD, WEIGHTS, Head, backbone_fingerprint, load_head, save_head
from privacy.heads.card import HeadCard, Training
from privacy.heads.network import HeadShape, InputNoise, make_network, weights_of


def card_of(shape: HeadShape, fingerprint: str = "f" * 64) -> HeadCard:
    labels = tuple(f"label{index}" for index in range(shape.classes))
    noise = InputNoise(1e9, 1.0) if shape.projected else None
    return HeadCard("a-model", fingerprint, labels, shape, Training(10, 1, 1.0, 1.0, 0.0), None, noise)


@pytest.mark.parametrize(
    "shape", [HeadShape(16, 2), HeadShape(16, 5, hidden=7), HeadShape(16, 3, projected=2), HeadShape(16, 3, 4, 2)]
)
def test_scores_are_the_trained_networks(shape: HeadShape, tmp_path: Path) -> None:
    import torch

    network = make_network(shape, card_of(shape).input_noise).eval()
    save_head(tmp_path / "head", card_of(shape), weights_of(network))
    head = load_head(tmp_path / "head")
    vectors = np.random.default_rng(0).normal(size=(6, 16)).astype(np.float32)
    wanted = network(torch.from_numpy(vectors)).detach().numpy()
    assert head.scores(vectors) == pytest.approx(wanted, abs=1e-5)
    assert head.scores(head.project(vectors)) == pytest.approx(wanted, abs=1e-5)
    assert (tmp_path / "head" / "README.md").read_text().startswith("# A head for a-model")


def test_head_refuses_vectors_of_another_width() -> None:
    head = Head(card_of(HeadShape(16, 2)), weights_of(make_network(HeadShape(16, 2), None)))
    for wrong in (np.zeros((2, 15)), np.zeros(16)):
        with pytest.raises(InvalidRequestError, match="16 numbers"):
            head.scores(wrong)
        with pytest.raises(InvalidRequestError, match="16 numbers"):
            head.project(wrong)


def test_head_of_another_model_is_refused(tmp_path: Path, minilm: Path, stories260k: Path) -> None:
    shape = HeadShape(384, 2)
    card = card_of(shape, backbone_fingerprint(minilm))
    save_head(tmp_path / "head", card, weights_of(make_network(shape, None)))
    assert load_head(tmp_path / "head", minilm).labels == ("label0", "label1")
    with pytest.raises(ModelError, match="was trained on a-model, not on this model"):
        load_head(tmp_path / "head", stories260k)


def test_fingerprint_changes_with_weights_and_tokenizer(tmp_path: Path) -> None:
    files = {"config.json": b"{}", "tokenizer.json": b"{}", "model.safetensors": bytes(3 << 20)}
    seen = set()
    for change in (None, *files):
        for name, content in files.items():
            (tmp_path / name).write_bytes(content[:-1] + b"x" if name == change else content)
        seen.add(backbone_fingerprint(tmp_path))
    assert len(seen) == 4


def test_broken_folders_are_refused(tmp_path: Path) -> None:
    shape = HeadShape(4, 2)
    good, weights = card_of(shape), weights_of(make_network(shape, None))
    with pytest.raises(ModelError, match="does not hold a head"):
        load_head(tmp_path)
    save_head(tmp_path / "head", good, weights)
    (tmp_path / "head" / CARD).write_text("{}")
    with pytest.raises(ModelError, match="card"):
        load_head(tmp_path / "head")
    save_head(tmp_path / "head", replace(good, shape=HeadShape(5, 2)), weights)
    with pytest.raises(ModelError, match="not of its card's shape"):
        load_head(tmp_path / "head")
    (tmp_path / "head" / WEIGHTS).write_bytes(b"no weights")
    with pytest.raises(ModelError, match="does not hold a head"):
        load_head(tmp_path / "head")


def test_save_leaves_other_folders_alone(tmp_path: Path) -> None:
    shape = HeadShape(4, 2)
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(ModelError, match="no head's folder"):
        save_head(tmp_path, card_of(shape), weights_of(make_network(shape, None)))
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]
