"""What `tokenizer_config.json` and its companions say beside `tokenizer.json`: special tokens' names, chat templates,
and the few settings that count before the file because the tokenizer's class in `transformers` always sets them.

For everything else the file decides, ends of a text included. Knows files and the pipeline's parts; encodes nothing.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer
from tokenizers.normalizers import BertNormalizer, Lowercase
from tokenizers.normalizers import Sequence as Normalizers
from tokenizers.pre_tokenizers import ByteLevel

from hetero.errors import ModelError
from hetero.models.json_file import read_json
from hetero.models.sentence_files import wants_small_letters

#: The class of a family's tokenizer where no file names one.
_CLASSES = {"bert": "Bert", "distilbert": "DistilBert", "roberta": "Roberta", "gpt2": "GPT2"}
#: Stands for a template where there are several and none is the usual one: which is meant, nobody has said.
_NO_DEFAULT = "{{ raise_exception('the model has several templates and none is named default') }}"


@dataclass(frozen=True, slots=True)
class TokenizerSettings:
    """The folder's settings. `special`: the texts of its special tokens, by the names that templates ask for."""

    folder: Path
    values: Mapping[str, Any]
    special: Mapping[str, str]
    chat_template: str | None
    model: Mapping[str, Any]

    @property
    def pad_id(self) -> int:
        """The id that `config.json` pads with; 0 where it says nothing."""
        value = self.model.get("pad_token_id")
        return value if isinstance(value, int) and value >= 0 else 0

    @property
    def truncation_side(self) -> str | None:
        return self.values.get("truncation_side")

    def apply(self, raw: Tokenizer) -> None:
        """Set in `raw` what its class would set."""
        named = self.values.get("tokenizer_class") or _CLASSES.get(str(self.model.get("model_type")), "")
        kind = str(named).removesuffix("Fast").removesuffix("Tokenizer")
        if kind in ("Bert", "DistilBert") and isinstance(raw.normalizer, BertNormalizer):
            raw.normalizer = self._bert_normalizer(raw.normalizer.clean_text)
        if kind in ("GPT2", "Roberta") and isinstance(raw.pre_tokenizer, ByteLevel):
            raw.pre_tokenizer.add_prefix_space = bool(self.values.get("add_prefix_space", False))
        if wants_small_letters(self.folder):
            raw.normalizer = Normalizers([Lowercase(), *([raw.normalizer] if raw.normalizer else [])])

    def _bert_normalizer(self, clean_text: bool) -> BertNormalizer:
        return BertNormalizer(
            clean_text=clean_text,
            handle_chinese_chars=bool(self.values.get("tokenize_chinese_chars", True)),
            strip_accents=self.values.get("strip_accents"),
            lowercase=bool(self.values.get("do_lower_case", True)),
        )


def read_settings(folder: Path) -> TokenizerSettings:
    """Raises ModelError where a file is there and cannot be read."""
    values = _optional_json(folder / "tokenizer_config.json")
    return TokenizerSettings(
        folder,
        values,
        _special_tokens(folder, values),
        _chat_template(folder, values),
        _optional_json(folder / "config.json"),
    )


def _optional_json(path: Path) -> dict[str, Any]:
    return read_json(path) if path.is_file() else {}


def _special_tokens(folder: Path, values: dict[str, Any]) -> dict[str, str]:
    """Older folders name them in a file of their own, which counts where the settings list no tokens."""
    older = {} if "added_tokens_decoder" in values else _optional_json(folder / "special_tokens_map.json")
    texts = {name: _text_of(value) for name, value in (values | older).items() if name.endswith("_token")}
    return {name: text for name, text in texts.items() if text is not None}


def _text_of(token: object) -> str | None:
    """Special tokens are written as a text or as an object with `content`."""
    if isinstance(token, dict):
        token = token.get("content")
    return token if isinstance(token, str) else None


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ModelError(f"{path} cannot be read ({error}): fetch the file again.") from None


def _chat_template(folder: Path, values: dict[str, Any]) -> str | None:
    path = folder / "chat_template.jinja"
    if path.is_file():
        return _read_text(path)
    found = values.get("chat_template")
    if isinstance(found, list):
        named = {item.get("name"): item.get("template") for item in found if isinstance(item, dict)}
        found = named.get("default", _NO_DEFAULT)
    return found if isinstance(found, str) else None
