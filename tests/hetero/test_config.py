from pathlib import Path

import pytest

from hetero.config import Settings, load_settings
from hetero.errors import ConfigurationError


def test_later_sources_win(tmp_path: Path) -> None:
    file = tmp_path / "hetero.yaml"
    file.write_text("context: 100\nthreads: 1\ngrpc_port: 1000\n")
    environment = {"HETERO_THREADS": "2", "HETERO_GRPC_PORT": "2000", "HOME": "/root"}
    settings = load_settings(file, environment, {"grpc_port": 3000, "plan": None})
    assert (settings.context, settings.threads, settings.grpc_port, settings.plan) == (100, 2, 3000, None)


def test_nothing_given_gives_the_defaults() -> None:
    assert load_settings(None, {}, {}) == Settings()
    assert Settings().grpc_host == "127.0.0.1"


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"HETERO_PRECISON": "fp32"}, "did you mean 'precision'?"),
        ({"HETERO_XYZZY": "1"}, "the settings are: plan, precision"),
        ({"HETERO_PRECISION": "int8"}, "'fp32', 'bf16' or 'fp16'"),
        ({"HETERO_CONTEXT": "0"}, "'context' is wrong"),
        ({"HETERO_CONTEXT": "many"}, "not 'many'"),
    ],
)
def test_wrong_setting_is_named(values: dict[str, str], said: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        load_settings(None, values, {})
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_token_is_not_shown() -> None:
    assert "hunter2" not in repr(load_settings(None, {"HETERO_GRPC_TOKEN": "hunter2"}, {}))


def test_empty_file_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "empty.yaml"
    file.write_text("")
    with pytest.raises(ConfigurationError, match="must hold names and values"):
        load_settings(file, {}, {})
