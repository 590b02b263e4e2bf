"""Reads the files that sentence-transformers keeps beside an encoder's `config.json`: how tokens are pooled, the
longest text, small letters. What they say and nothing here does (other modules, prompts) is refused.

Knows sentence-transformers 6.2 and the names that its older versions gave; knows nothing of the encoder itself.
"""

import json
from pathlib import Path
from typing import Literal

from hetero.errors import ModelError
from hetero.models.json_file import Fields, read_json

Pooling = Literal["mean", "cls"]
#: One file under names of different years; the first that is there counts.
_SETTINGS = tuple(
    f"sentence_{kind}_config.json"
    for kind in ("bert", "roberta", "distilbert", "camembert", "albert", "xlm-roberta", "xlnet")
)


def read_pooling(folder: Path) -> tuple[Pooling, bool]:
    """(pooling, normalised); the mean, not normalised, where the folder says nothing. Raises ModelError."""
    modules = _modules(folder)
    pooling: Pooling = "mean"
    for name, where in modules:
        _check_module(folder, name, where)
        if name == "Pooling":
            pooling = _pooling_mode(Fields(where / "config.json", read_json(where / "config.json")))
    _check_prompt(folder)
    return pooling, any(name == "Normalize" for name, _ in modules)


def longest_text(folder: Path, positions: int) -> int:
    """Tokens of a text: what the positions allow, or fewer where sentence-transformers or the tokenizer say so."""
    own = _settings(folder)
    if own is not None and own.get("max_seq_length") is not None:
        return min(positions, own.count("max_seq_length"))
    tokenizer = folder / "tokenizer_config.json"
    told = read_json(tokenizer).get("model_max_length") if tokenizer.is_file() else None
    # "No limit" is written as a very large number, also as a float.
    return int(told) if isinstance(told, int | float) and 1 <= told < positions else positions


def wants_small_letters(folder: Path) -> bool:
    """Whether sentence-transformers lowers every text before it is cut into tokens."""
    own = _settings(folder)
    return own is not None and own.flag("do_lower_case", False)


def _settings(folder: Path) -> Fields | None:
    path = next((folder / name for name in _SETTINGS if (folder / name).is_file()), None)
    return None if path is None else Fields(path, read_json(path))


def _modules(folder: Path) -> list[tuple[str, Path]]:
    """(class name, folder) of each module, in order; empty where there is no `modules.json`."""
    path = folder / "modules.json"
    if not path.is_file():
        return []
    try:
        listed = json.loads(path.read_text(encoding="utf-8"))
        return [(str(item["type"]).rsplit(".", 1)[-1], folder / str(item.get("path", ""))) for item in listed]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelError(f"{path} is no list of sentence-transformers modules ({error!r}): fetch it again.") from None


def _check_module(folder: Path, name: str, where: Path) -> None:
    if name not in ("Transformer", "Pooling", "Normalize"):
        raise ModelError(
            f"{folder / 'modules.json'} names a module {name}, which is not supported: use a model of "
            "Transformer, Pooling and Normalize only."
        )
    if name == "Transformer" and where != folder:
        raise ModelError(
            f"{folder / 'modules.json'} keeps the transformer in {where.name}: move its files beside modules.json "
            "and leave its path there empty."
        )


def _check_prompt(folder: Path) -> None:
    path = folder / "config_sentence_transformers.json"
    fields = Fields(path, read_json(path) if path.is_file() else {})
    name, prompts = fields.get("default_prompt_name"), fields.get("prompts")
    if isinstance(prompts, dict) and isinstance(name, str) and prompts.get(name):
        raise fields.refuse("default_prompt_name", name, "set it to null and write the prompt before each text")


def _pooling_mode(fields: Fields) -> Pooling:
    """Both forms: `pooling_mode: "mean"`, and one flag a mode, where none means the mean."""
    flags = [name for name, value in fields.values.items() if name.startswith("pooling_mode_") and value is True]
    named = fields.get("pooling_mode")
    modes = flags if named is None else named if isinstance(named, list) else [named]
    if modes in (["mean"], ["pooling_mode_mean_tokens"], []):
        return "mean"
    if modes in (["cls"], ["pooling_mode_cls_token"]):
        return "cls"
    raise fields.refuse("pooling_mode", modes, "use a model with mean or CLS pooling")
