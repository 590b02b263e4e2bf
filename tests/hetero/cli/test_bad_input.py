"""Wrong input: one clear sentence on stderr, exit code 2, no traceback."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

Refused = Callable[..., str]


@pytest.mark.parametrize(
    ("plan", "said"),
    [
        ("tpu:0-5", "there is no device 'tpu'; the devices here are: cpu, npu"),
        ("cpu/cuda:0-5", "no engine 'cuda' drives device 'cpu'"),
        ("cpu:0-3,npu:2-5", "overlaps"),
        ("cpu:0-2,npu:3-5", "leaves blocks 2-3 without a device"),
        ("cpu:0-4", "leaves blocks 4-5 without a device"),
        ("cpu", "is not of the form DEVICE[/ENGINE][@PRECISION]:FIRST-LAST"),
    ],
)
def test_wrong_plan_is_refused(refused: Refused, stories260k: Path, plan: str, said: str) -> None:
    assert said in refused("plan", stories260k, "--plan", plan)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("generate", "tiny"), "--prompt"),
        (("generate", "tiny", "--prompt", "x", "--top-p", "much"), "--top-p"),
        (("generate", "tiny", "--prompt", ""), "the prompt is empty"),
        (("generate", "tiny", "--prompt", "x", "--bad"), "--bad"),
        (("generate", "tiny", "--prompt", "x", "--max-tokens", "0"), "max_tokens"),
        (("generate", "tiny", "--prompt", "x", "--temperature", "-1"), "temperature"),
        (("run", "tiny", "--min-p", "2"), "min_p"),
        (("plan", "/nowhere/at/all"), "/nowhere/at/all"),
        (("plan", "tiny", "--precision", "int3"), "precision"),
        (("plan", "tiny", "--context", "0"), "context"),
        (("plan", "tiny", "--config", "/nowhere.yaml"), "/nowhere.yaml"),
        (("serve", "tiny", "--grpc-port", "70000"), "grpc_port"),
        (("serve", "tiny", "--grpc-use-ssl"), "--grpc-server-cert"),
        (("serve", "tiny", "--grpc-use-ssl-mutual", "--grpc-server-cert", "c", "--grpc-server-key", "k"), "root-cert"),
        (("bench", "decode"), "--random-config"),
        (("bench", "decode", "--random-config", "/nowhere.json"), "/nowhere.json"),
        (("fly",), "fly"),
        (("embed", "tiny", "--text", "x"), "tiny is a decoder and gives no vectors"),
        (("classify", "tiny", "--text", "x"), "tiny is a decoder and gives no vectors"),
        (("generate", "tiny", "--prompt", "x", "--repetition-penalty", "1e-30"), "repetition_penalty"),
        (("generate", "tiny", "--prompt", "x", "--draft-depth", "2"), "--exits verify"),
        (("generate", "~nobody-at-all/model", "--prompt", "x"), "~nobody-at-all/model cannot be looked at"),
        (("plan", "tiny", "--encrypted", "/nowhere"), "--policy"),
        (("profile", "tiny", "--encrypted", "/nowhere"), "--policy"),
        (("bench", "privacy", "--against", "/nowhere"), "/nowhere"),
        (("private", "serve", "--head", "/nowhere"), "/nowhere cannot be read: No such file"),
    ],
)
def test_wrong_arguments_are_refused(refused: Refused, arguments: tuple[str, ...], said: str) -> None:
    assert said in refused(*arguments)


def test_encoder_is_not_started_for_what_it_cannot_do(refused: Refused, minilm: Path) -> None:
    assert "is an encoder and does not generate" in refused("generate", minilm, "--prompt", "x")
    assert "has no classification head" in refused("classify", minilm, "--text", "x")


def test_weights_that_lead_nowhere_are_refused(refused: Refused, stories260k: Path, tmp_path: Path) -> None:
    """As in the hub's cache when a download was cut: a link to nothing."""
    (tmp_path / "config.json").write_bytes((stories260k / "config.json").read_bytes())
    (tmp_path / "model.safetensors").symlink_to("/nowhere")
    assert "holds neither model.safetensors" in refused("plan", tmp_path)


def test_unknown_setting_is_refused_with_the_likely_name(refused: Refused, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HETERO_GRPC_PROT", "1")
    assert "did you mean 'grpc_port'?" in refused("plan", "tiny")


@pytest.mark.parametrize("text", ["- a\n- b\n", "plan: [", "\x00"])
def test_settings_file_that_is_none_is_refused(refused: Refused, tmp_path: Path, text: str) -> None:
    file = tmp_path / "settings.yaml"
    file.write_text(text)
    assert str(file) in refused("plan", "tiny", "--config", file)


def test_corrupt_checkpoint_is_refused(refused: Refused, stories260k: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(stories260k, tmp_path / "model")
    weights = folder / "model.safetensors"
    weights.chmod(0o644)
    weights.write_bytes(weights.read_bytes()[:1000])
    assert "model.safetensors" in refused("plan", folder)


def test_unsupported_architecture_is_refused(refused: Refused, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "mamba", "architectures": ["MambaForCausalLM"]}')
    assert "mamba" in refused("plan", tmp_path).lower()
