"""Where a model's files are looked for, without a network."""

from pathlib import Path

import pytest

from hetero.errors import ModelError
from hetero.models.source import resolve


def test_source_folder_is_itself(stories260k: Path) -> None:
    assert resolve(str(stories260k)) == stories260k.resolve()


def test_source_file_is_refused(stories260k: Path) -> None:
    with pytest.raises(ModelError, match="is a file: give the folder"):
        resolve(str(stories260k / "config.json"))


@pytest.mark.parametrize("name", ["nowhere", "./a/b/c", "a//b", "-x/y", "owner/name with space"])
def test_source_that_is_neither_folder_nor_id_is_refused(name: str) -> None:
    with pytest.raises(ModelError, match="neither a folder, nor 'tiny', nor a hub id"):
        resolve(name)


@pytest.mark.parametrize("name", ["x" * 5000, "~nobody-at-all/model"])
def test_source_that_cannot_be_looked_at_is_refused(name: str) -> None:
    with pytest.raises(ModelError, match="cannot be looked at"):
        resolve(name)


def test_source_hub_id_offline_says_how_to_get_it() -> None:
    with pytest.raises(ModelError, match="owner/name is not in the local hub cache and the hub cannot be reached"):
        resolve("owner/name")


def test_source_hub_id_in_the_cache_is_found_offline(stories260k: Path, tmp_path: Path, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    repository = tmp_path / "models--owner--name"
    snapshot = repository / "snapshots" / "abc"
    snapshot.mkdir(parents=True)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("abc")
    (snapshot / "config.json").write_bytes((stories260k / "config.json").read_bytes())
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    assert resolve("owner/name") == snapshot


def test_source_fetches_a_models_weights_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Of a repository that holds them as its maker's one file, as shards and for another program: the shards."""
    import huggingface_hub
    from huggingface_hub.utils import filter_repo_objects

    held = ["config.json", "consolidated.safetensors", "model-00001-of-00002.safetensors", "onnx/model.safetensors",
            "1_Pooling/config.json", "tokenizer.model", "chat_template.jinja", "pytorch_model.bin"]  # fmt: skip
    fetched: list[str] = []

    def fetch(name: str, **patterns: list[str]) -> str:
        fetched.extend(filter_repo_objects(held, **patterns))
        return str(tmp_path)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", fetch)
    assert resolve("owner/name") == tmp_path
    assert fetched == ["config.json", "model-00001-of-00002.safetensors", "1_Pooling/config.json", "tokenizer.model",
                       "chat_template.jinja"]  # fmt: skip
