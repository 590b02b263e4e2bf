"""Training, files and their checks: what comes out is what the runtime reads, and what does not fit is refused."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from hetero.cli.main import run
from hetero.errors import InvalidRequestError, ModelError
from hetero.exits.making import encoder_config, make_frozen, make_joint
from hetero.exits.storage import CARD, HEADS, exits_folder, read_card, read_heads, read_held_out
from hetero.exits.texts import LabelledTexts, read_texts_file
from hetero.exits.training import check_depths


def quiet(done: int, whole: int, text: str) -> None:
    """Tells nobody."""


def test_frozen_exits_leave_the_model_alone_and_agree_more_often_than_chance(
    exiting_model: Path, checkpoint: Callable[..., Path]
) -> None:
    same = (exiting_model / "model.safetensors").read_bytes() == (
        checkpoint("bert-classifier") / "model.safetensors"
    ).read_bytes()
    assert same
    card = read_card(exiting_model)
    assert card.depths == (1, 2, 3) and card.backbone == "frozen"
    assert min(card.agreement) > 0.6
    assert len(read_heads(exiting_model, encoder_config(exiting_model))) == 3
    assert len(read_held_out(exiting_model, card)) == 90


def test_joint_training_writes_a_classifier_that_transformers_reads_alike(
    checkpoint: Callable[..., Path], make_texts: Callable[..., tuple[str, ...]], tmp_path: Path
) -> None:
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    from hetero import Runtime

    texts = make_texts(200)
    labels = np.array([int("cat" in text) for text in texts])
    data = LabelledTexts(texts, labels, ("without", "with"))
    made = make_joint(checkpoint("minilm"), data, (2, 4), tmp_path / "joint", quiet, epochs=1)
    assert encoder_config(made.model).labels == ("without", "with")
    with Runtime(str(made.model), in_process=True, precision="fp32") as runtime:
        ours = runtime.submit_classification(texts[:5]).result()
    inputs = AutoTokenizer.from_pretrained(made.model)(list(texts[:5]), return_tensors="pt", padding=True)
    with torch.inference_mode():
        theirs = AutoModelForSequenceClassification.from_pretrained(made.model).eval()(**inputs).logits
    assert np.allclose(ours, theirs.numpy(), atol=1e-4)
    with pytest.raises(ModelError, match="exists"):
        make_joint(checkpoint("minilm"), data, (2,), made.model, quiet)


@pytest.mark.parametrize("depths", [(), (0, 2), (2, 4), (3, 1), (1, 1)])
def test_depths_outside_the_model_or_out_of_order_are_refused(
    depths: tuple[int, ...], checkpoint: Callable[..., Path]
) -> None:
    with pytest.raises(InvalidRequestError, match="from 1 to 3"):
        check_depths(encoder_config(checkpoint("bert-classifier")), depths)


def test_an_embedding_model_has_nothing_to_learn_from(
    checkpoint: Callable[..., Path], make_texts: Callable[..., tuple[str, ...]]
) -> None:
    with pytest.raises(ModelError, match="--train-backbone"):
        make_frozen(checkpoint("minilm"), LabelledTexts(make_texts(120), None, ()), (1,), quiet)


def test_heads_of_another_model_are_refused(
    exiting_model: Path, checkpoint: Callable[..., Path], tmp_path: Path
) -> None:
    other = tmp_path / "other"
    shutil.copytree(checkpoint("roberta-classifier"), other)
    shutil.copytree(exits_folder(exiting_model), exits_folder(other))
    with pytest.raises(ModelError, match="belong to another model: weights"):
        read_heads(other, encoder_config(other))


def test_damaged_files_of_exits_are_refused(exiting_model: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(exiting_model, broken)
    (exits_folder(broken) / HEADS).write_bytes(b"no tensors")
    with pytest.raises(ModelError, match="cannot be read as exits"):
        read_heads(broken, encoder_config(broken))
    card = exits_folder(broken) / CARD
    card.write_text(json.dumps({**json.loads(card.read_text()), "format": 99}))
    with pytest.raises(ModelError, match="format"):
        read_card(broken)


def written(folder: Path, text: str) -> Path:
    path = folder / "data.tsv"
    path.write_text(text, encoding="utf-8")
    return path


def test_texts_with_names_numbers_or_no_labels(tmp_path: Path) -> None:
    named = read_texts_file(written(tmp_path, "a\tgood\nb\tbad\n"))
    assert named.names == ("bad", "good") and named.labels is not None and named.labels.tolist() == [1, 0]
    numbered = read_texts_file(written(tmp_path, "a\t1\nb\t0\n"), ("bad", "good"))
    assert numbered.labels is not None and numbered.labels.tolist() == [1, 0]
    bare = read_texts_file(written(tmp_path, "a\nb\n\n"))
    assert bare.texts == ("a", "b") and bare.labels is None


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a\t2\n", "'2'"),
        ("a\tgood\nb\tugly\n", "text 2 has the label 'ugly'"),
        ("", "no text"),
        ("a\t1\nb\n", "text 2"),
    ],
)
def test_labels_out_of_range_and_half_labelled_files_are_refused(text: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidRequestError, match=said):
        read_texts_file(written(tmp_path, text), ("bad", "good"))


def test_too_small_a_calibration_set_is_refused_before_anything_starts(
    exiting_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = written(tmp_path, "some text\n" * 100)
    assert run(["calibrate", str(exiting_model), "--data", str(path), "--epsilon", "0.01", "--bound", "binomial"]) == 2
    assert "100 texts cannot certify" in capsys.readouterr().err
