"""The settings of a runtime and its server: a YAML file, then `HETERO_*` in the environment, then flags.

Knows names, types and bounds; whether a plan, a port or a file is usable is for those who use it to say.
"""

from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError

from hetero.errors import ConfigurationError

PREFIX = "HETERO_"


class Settings(BaseModel):
    """Every setting, each with the name that it has in the file, as `HETERO_NAME`, and as a flag."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    plan: str | None = None
    precision: Literal["fp32", "bf16", "fp16"] | None = None
    context: int | None = Field(None, ge=1)
    max_sequences: int = Field(16, ge=1, le=4096)
    max_batch_tokens: int = Field(512, ge=1)
    max_waiting: int = Field(256, ge=1)
    kv_blocks: int | None = Field(None, ge=1)
    threads: int = Field(0, ge=0)
    exits: Literal["auto", "off", "verify", "release", "skip"] = "auto"
    draft_depth: int | None = Field(None, ge=1)
    address: str | None = None
    cache: Path | None = None
    policy: Path | None = None
    served_name: str | None = None
    heads: tuple[Path, ...] = ()
    encrypted: tuple[Path, ...] = ()
    documents: Path | None = None
    grpc_host: str = "127.0.0.1"
    grpc_port: int = Field(50051, ge=0, le=65535)
    grpc_use_ssl: bool = False
    grpc_use_ssl_mutual: bool = False
    grpc_server_cert: Path | None = None
    grpc_server_key: Path | None = None
    grpc_root_cert: Path | None = None
    grpc_token: SecretStr | None = None
    grpc_drain_seconds: float = Field(30.0, ge=0)


def load_settings(file: Path | None, environment: Mapping[str, str], flags: Mapping[str, object]) -> Settings:
    """Merge the three sources, the later winning; a flag that is None was not given.

    Raises ConfigurationError for a file that cannot be read, an unknown name, or a value out of its bounds.
    """
    values = _read_file(file) if file else {}
    values.update(_read_environment(environment))
    values.update({name: value for name, value in flags.items() if value is not None})
    try:
        return Settings.model_validate(values)
    except ValidationError as error:
        raise ConfigurationError(_sentence(error)) from None


def _read_file(file: Path) -> dict[str, object]:
    try:
        values = yaml.safe_load(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigurationError(f"the settings file {str(file)!r} cannot be read: {error.strerror}") from None
    except (yaml.YAMLError, UnicodeDecodeError):
        raise ConfigurationError(f"the settings file {str(file)!r} is not YAML in UTF-8") from None
    if not isinstance(values, dict):
        raise ConfigurationError(f"the settings file {str(file)!r} must hold names and values, as in `plan: cpu:0-5`")
    return {str(name): value for name, value in values.items()}


def _read_environment(environment: Mapping[str, str]) -> dict[str, object]:
    return {name.removeprefix(PREFIX).lower(): value for name, value in environment.items() if name.startswith(PREFIX)}


def _sentence(error: ValidationError) -> str:
    first = error.errors()[0]
    name = ".".join(str(part) for part in first["loc"])
    if first["type"] != "extra_forbidden":
        return f"the setting {name!r} is wrong: {first['msg'][0].lower()}{first['msg'][1:]}, not {first['input']!r}"
    close = get_close_matches(name, Settings.model_fields, 1)
    hint = f"did you mean {close[0]!r}?" if close else f"the settings are: {', '.join(Settings.model_fields)}"
    return f"there is no setting {name!r}; {hint}"
